-- Bulk work of a database in memory: inserts, an index, a join, groups, updates, deletes. One turn of the benchmark.
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, town TEXT, born INTEGER);
CREATE TABLE sale (id INTEGER PRIMARY KEY, person INTEGER, thing TEXT, price REAL);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000)
INSERT INTO person SELECT i, 'name ' || (i * 7919 % 8000), 'town ' || (i % 97), 1930 + i % 80 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
INSERT INTO sale SELECT i, i * 31 % 8000 + 1, printf('thing %d of %s', i % 1013, hex(i)), i % 1000 / 10.0 FROM n;
COMMIT;
CREATE INDEX person_town ON person (town, born);
CREATE INDEX sale_person ON sale (person, thing);
CREATE TEMP TABLE sums AS
SELECT town, born / 10 AS decade, count(*) AS sales, sum(price) AS price, group_concat(thing, ', ') AS things
FROM sale JOIN person ON person.id = sale.person GROUP BY town, decade ORDER BY price DESC;
UPDATE sale SET thing = upper(thing) || replace(thing, 'thing', 'ware') WHERE id % 3 = 0;
DELETE FROM sale WHERE id % 5 = 0;
DROP TABLE sums;
DROP TABLE sale;
DROP TABLE person;
