-- Whom operators put on the allowlist; the configured ones stand in the settings.
CREATE TABLE allowlist (
    target     TEXT    PRIMARY KEY NOT NULL,
    expires_at INTEGER,
    json       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- What the entry of a decision has met, over all runs of the agent until `at`.
CREATE TABLE tallies (
    decision BLOB    PRIMARY KEY NOT NULL,
    at       INTEGER NOT NULL,
    json     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tallies_at ON tallies (at);

-- Sources under a decision that only counted, and their established sessions meanwhile.
CREATE TABLE bystanders (
    decision BLOB    NOT NULL,
    ip       TEXT    NOT NULL,
    sessions INTEGER NOT NULL,
    first    INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    PRIMARY KEY (decision, ip)
) STRICT, WITHOUT ROWID;
