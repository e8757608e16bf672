-- What a decision followed from, so that it can be come to again: the latest judgement of each.
CREATE TABLE proofs (
    decision BLOB    PRIMARY KEY NOT NULL,
    at       INTEGER NOT NULL,
    ground   BLOB    NOT NULL,
    json     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX proofs_ground ON proofs (ground);

-- What held for many decisions: settings and protected addresses, by the SHA-256 of the text.
CREATE TABLE grounds (
    sha256 BLOB    PRIMARY KEY NOT NULL,
    at     INTEGER NOT NULL,
    json   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
