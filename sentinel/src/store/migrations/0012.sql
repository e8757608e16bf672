-- What a fleet shares. What changed here and was not looked at yet: written by triggers, within the transaction that changed
-- it, while `fleet` stands in `meta`.
CREATE TABLE fleet_changes (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    subject TEXT    NOT NULL UNIQUE
) STRICT;

-- The latest word on each subject.
CREATE TABLE fleet_words (
    subject TEXT    PRIMARY KEY NOT NULL,
    version TEXT    NOT NULL,
    body    TEXT    NOT NULL,
    mac     TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    sent    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX fleet_words_unsent ON fleet_words (version) WHERE sent = 0;
CREATE INDEX fleet_words_ends ON fleet_words (ends_at);

-- What is noted already goes first: a conflict would be settled as the statement that fired the trigger says.
CREATE TRIGGER fleet_decision_made AFTER INSERT ON decisions
WHEN NEW.status = 'active' AND EXISTS (SELECT 1 FROM meta WHERE key = 'fleet')
BEGIN
    DELETE FROM fleet_changes WHERE subject = 'd' || json_extract(NEW.json, '$.target');
    INSERT INTO fleet_changes (subject) VALUES ('d' || json_extract(NEW.json, '$.target'));
END;
CREATE TRIGGER fleet_decision_changed AFTER UPDATE ON decisions
WHEN EXISTS (SELECT 1 FROM meta WHERE key = 'fleet')
BEGIN
    DELETE FROM fleet_changes WHERE subject = 'd' || json_extract(NEW.json, '$.target');
    INSERT INTO fleet_changes (subject) VALUES ('d' || json_extract(NEW.json, '$.target'));
END;
CREATE TRIGGER fleet_decision_ended AFTER INSERT ON ends
WHEN EXISTS (SELECT 1 FROM meta WHERE key = 'fleet') AND EXISTS (SELECT 1 FROM decisions WHERE id = NEW.decision)
BEGIN
    DELETE FROM fleet_changes WHERE subject = 'd' || (SELECT json_extract(json, '$.target') FROM decisions WHERE id = NEW.decision);
    INSERT INTO fleet_changes (subject) VALUES ('d' || (SELECT json_extract(json, '$.target') FROM decisions WHERE id = NEW.decision));
END;
-- It is told once it is enforced.
CREATE TRIGGER fleet_action_made AFTER INSERT ON actions
WHEN NEW.status = 'enforced' AND EXISTS (SELECT 1 FROM meta WHERE key = 'fleet')
BEGIN
    DELETE FROM fleet_changes WHERE subject = 'd' || json_extract(NEW.json, '$.target');
    INSERT INTO fleet_changes (subject) VALUES ('d' || json_extract(NEW.json, '$.target'));
END;
CREATE TRIGGER fleet_action_changed AFTER UPDATE ON actions
WHEN NEW.status = 'enforced' AND EXISTS (SELECT 1 FROM meta WHERE key = 'fleet')
BEGIN
    DELETE FROM fleet_changes WHERE subject = 'd' || json_extract(NEW.json, '$.target');
    INSERT INTO fleet_changes (subject) VALUES ('d' || json_extract(NEW.json, '$.target'));
END;
CREATE TRIGGER fleet_allowed AFTER INSERT ON allowlist
WHEN EXISTS (SELECT 1 FROM meta WHERE key = 'fleet')
BEGIN
    DELETE FROM fleet_changes WHERE subject = 'a' || NEW.target;
    INSERT INTO fleet_changes (subject) VALUES ('a' || NEW.target);
END;
CREATE TRIGGER fleet_disallowed AFTER DELETE ON allowlist
WHEN EXISTS (SELECT 1 FROM meta WHERE key = 'fleet')
BEGIN
    DELETE FROM fleet_changes WHERE subject = 'a' || OLD.target;
    INSERT INTO fleet_changes (subject) VALUES ('a' || OLD.target);
END;
