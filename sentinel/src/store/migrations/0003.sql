-- What was found out about the sources of alerts.
CREATE TABLE investigations (
    seq   INTEGER PRIMARY KEY,
    id    BLOB    NOT NULL UNIQUE,
    at    INTEGER NOT NULL,
    ip    BLOB    NOT NULL,
    alert BLOB    NOT NULL,
    state TEXT    NOT NULL,
    level TEXT    NOT NULL,
    json  TEXT    NOT NULL
) STRICT;
CREATE INDEX investigations_at ON investigations (at);
CREATE INDEX investigations_ip ON investigations (ip);
CREATE INDEX investigations_alert ON investigations (alert);

-- Answers of intelligence sources, "never heard of it" among them, until they are too old.
CREATE TABLE intel_cache (
    source     TEXT    NOT NULL,
    ip         BLOB    NOT NULL,
    asked_at   INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    json       TEXT    NOT NULL,
    PRIMARY KEY (source, ip)
) STRICT, WITHOUT ROWID;
CREATE INDEX intel_cache_expires ON intel_cache (expires_at);

-- What was spent of each source's quota: one row for each of its periods (minute, day, month). allowed: as the provider
-- told; -1 where it told nothing and the configuration holds.
CREATE TABLE intel_quota (
    source   TEXT    NOT NULL,
    period   TEXT    NOT NULL,
    began_at INTEGER NOT NULL,
    spent    INTEGER NOT NULL,
    allowed  INTEGER NOT NULL,
    PRIMARY KEY (source, period)
) STRICT, WITHOUT ROWID;
