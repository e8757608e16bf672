CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE alerts (
    seq      INTEGER PRIMARY KEY,
    id       BLOB    NOT NULL UNIQUE,
    at       INTEGER NOT NULL,
    source   BLOB,
    detector TEXT    NOT NULL,
    severity TEXT    NOT NULL,
    json     TEXT    NOT NULL
) STRICT;
CREATE INDEX alerts_at ON alerts (at);
CREATE INDEX alerts_source ON alerts (source) WHERE source IS NOT NULL;

CREATE TABLE decisions (
    seq        INTEGER PRIMARY KEY,
    id         BLOB    NOT NULL UNIQUE,
    at         INTEGER NOT NULL,
    low        BLOB    NOT NULL,
    high       BLOB    NOT NULL,
    action     TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    origin     TEXT    NOT NULL,
    expires_at INTEGER,
    alert      BLOB,
    json       TEXT    NOT NULL
) STRICT;
CREATE INDEX decisions_at ON decisions (at);
CREATE INDEX decisions_low ON decisions (low);
CREATE INDEX decisions_active ON decisions (seq) WHERE status = 'active';

CREATE TABLE actions (
    seq      INTEGER PRIMARY KEY,
    id       BLOB    NOT NULL UNIQUE,
    at       INTEGER NOT NULL,
    decision BLOB    NOT NULL,
    low      BLOB    NOT NULL,
    high     BLOB    NOT NULL,
    kind     TEXT    NOT NULL,
    status   TEXT    NOT NULL,
    json     TEXT    NOT NULL
) STRICT;
CREATE INDEX actions_at ON actions (at);
CREATE INDEX actions_decision ON actions (decision);
CREATE INDEX actions_low ON actions (low);

CREATE TABLE audit (
    seq     INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    verb    TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    detail  TEXT    NOT NULL,
    hash    BLOB    NOT NULL
) STRICT;
CREATE INDEX audit_at ON audit (at);
