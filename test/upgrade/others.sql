-- Asked before and after an update by a role that sees masks and may search.
SELECT id, mail, feels, pay FROM up.customer WHERE id < 5 ORDER BY id;
SELECT id, t FROM up.every WHERE t = 'text 7';
SELECT id, body FROM up.ticket WHERE id < 5 ORDER BY id;
