-- How many alerts of a kind there are by the hour of their time, and the first and last of them by order of arrival:
-- totals that nobody counts a million rows for. Kept by the database itself, so that no writer can forget it.
CREATE TABLE alert_hours (
    severity TEXT    NOT NULL,
    detector TEXT    NOT NULL,
    hour     INTEGER NOT NULL,
    alerts   INTEGER NOT NULL,
    first    INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    PRIMARY KEY (severity, detector, hour)
) STRICT, WITHOUT ROWID;
INSERT INTO alert_hours
    SELECT severity, detector, at / 3600000000000, count(*), min(seq), max(seq) FROM alerts GROUP BY 1, 2, 3;
CREATE TRIGGER alerts_counted AFTER INSERT ON alerts BEGIN
    INSERT INTO alert_hours (severity, detector, hour, alerts, first, last)
    VALUES (new.severity, new.detector, new.at / 3600000000000, 1, new.seq, new.seq)
    ON CONFLICT DO UPDATE SET alerts = alerts + 1, first = min(first, excluded.first), last = max(last, excluded.last);
END;
CREATE TRIGGER alerts_uncounted AFTER DELETE ON alerts BEGIN
    UPDATE alert_hours SET alerts = alerts - 1
    WHERE severity = old.severity AND detector = old.detector AND hour = old.at / 3600000000000;
END;

DROP INDEX alerts_at;
CREATE INDEX alerts_at ON alerts (at, severity, detector);
DROP INDEX alerts_source;
CREATE INDEX alerts_source ON alerts (source, severity, detector) WHERE source IS NOT NULL;
CREATE INDEX alerts_kind ON alerts (severity, detector);

DROP INDEX investigations_at;
CREATE INDEX investigations_at ON investigations (at, level);
DROP INDEX investigations_ip;
CREATE INDEX investigations_ip ON investigations (ip, level);
CREATE INDEX investigations_level ON investigations (level);

DROP INDEX decisions_at;
CREATE INDEX decisions_at ON decisions (at, status);
DROP INDEX decisions_low;
CREATE INDEX decisions_low ON decisions (low, high, status);
CREATE INDEX decisions_alert ON decisions (alert) WHERE alert IS NOT NULL;
CREATE INDEX decisions_over ON decisions (seq) WHERE status <> 'active';
CREATE INDEX decisions_simulated ON decisions (seq)
    WHERE CASE WHEN json_valid(json) THEN json ->> '$.simulated' END = 1 AND status NOT IN ('vetoed', 'logged');

DROP INDEX actions_at;
CREATE INDEX actions_at ON actions (at, status);
DROP INDEX actions_low;
CREATE INDEX actions_low ON actions (low, high, status);
CREATE INDEX actions_status ON actions (status);
