-- How far programs have come that carry our decisions out elsewhere.
CREATE TABLE bouncers (
    token TEXT PRIMARY KEY NOT NULL,
    json  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The latest change of each decision, in order; noted by the database itself and only while somebody is told of it.
-- born: the first one noted, NULL where that is the latest, 0 where it was there before.
CREATE TABLE changes (
    change   INTEGER PRIMARY KEY AUTOINCREMENT,
    decision INTEGER NOT NULL,
    born     INTEGER
) STRICT;
CREATE INDEX changes_decision ON changes (decision);
CREATE TRIGGER decisions_come AFTER INSERT ON decisions WHEN EXISTS (SELECT 1 FROM bouncers) BEGIN
    INSERT INTO changes (decision) VALUES (new.seq);
END;
CREATE TRIGGER decisions_change AFTER UPDATE ON decisions
WHEN new.json IS NOT old.json AND EXISTS (SELECT 1 FROM bouncers) BEGIN
    INSERT INTO changes (decision, born)
    VALUES (new.seq, coalesce((SELECT coalesce(born, change) FROM changes WHERE decision = new.seq), 0));
    DELETE FROM changes WHERE decision = new.seq
        AND change < (SELECT max(change) FROM changes WHERE decision = new.seq);
END;
CREATE TRIGGER decisions_end AFTER INSERT ON ends WHEN EXISTS (SELECT 1 FROM bouncers) BEGIN
    INSERT INTO changes (decision, born)
    SELECT seq, coalesce((SELECT coalesce(born, change) FROM changes WHERE decision = seq), 0)
    FROM decisions WHERE id = new.decision;
    DELETE FROM changes WHERE decision = (SELECT seq FROM decisions WHERE id = new.decision)
        AND change < (SELECT max(change) FROM changes
            WHERE decision = (SELECT seq FROM decisions WHERE id = new.decision));
END;
CREATE TRIGGER decisions_go AFTER DELETE ON decisions BEGIN
    DELETE FROM changes WHERE decision = old.seq;
END;
