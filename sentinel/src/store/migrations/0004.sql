-- What must be put back when an action is undone that the kernel knows nothing of, written down before it is done.
CREATE TABLE undos (
    action BLOB PRIMARY KEY NOT NULL,
    json   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
