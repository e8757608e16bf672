-- Who may ask for what. Of tokens and of cookies only digests are kept.
CREATE TABLE tokens (
    id   TEXT PRIMARY KEY NOT NULL,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    digest TEXT PRIMARY KEY NOT NULL,
    json   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
