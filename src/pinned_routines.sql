-- After every routine is made.
SELECT dataprotect._pin_routines();
