-- How decisions ended that ended together: a small row each at once, their own rows and their actions' bit by bit.
CREATE TABLE endings (
    batch  INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    status TEXT    NOT NULL,
    cause  TEXT    NOT NULL
) STRICT;

CREATE TABLE ends (
    decision    BLOB    PRIMARY KEY NOT NULL,
    batch       INTEGER NOT NULL,
    watch_until INTEGER,
    hits        INTEGER NOT NULL,
    would_hits  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
