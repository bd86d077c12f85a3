-- Asked before and after an update, by a role that may see and by one that may not.
SELECT * FROM up.every ORDER BY id;
SELECT id, t FROM up.every WHERE t IN ('text 7', 'text 9') OR i4 = 22 OR n = 15 OR i8 = 39 ORDER BY id;
SELECT id FROM up.every WHERE d BETWEEN '2020-01-05' AND '2020-01-09' ORDER BY tz;
SELECT id, mail, feels, pay, note, lost, seen IS NULL, count(*) OVER () FROM up.customer ORDER BY id;
SELECT id, feels FROM up.customer WHERE feels = 'sad' ORDER BY pay DESC NULLS LAST, id;
SELECT id, customer, body FROM up.ticket WHERE id < 20 OR id = 60 ORDER BY id;
SELECT * FROM up.seen ORDER BY 1;
SELECT * FROM up.by_array ORDER BY 1;
