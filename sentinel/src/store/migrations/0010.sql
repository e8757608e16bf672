-- Messages to people, in the order in which they were put down; what was sent or refused is kept for a while.
CREATE TABLE messages (
    seq      INTEGER PRIMARY KEY,
    id       BLOB    NOT NULL UNIQUE,
    channel  TEXT    NOT NULL,
    due      INTEGER NOT NULL,
    state    TEXT    NOT NULL,
    state_at INTEGER NOT NULL,
    cause    TEXT,
    json     TEXT    NOT NULL
) STRICT;
CREATE INDEX messages_waiting ON messages (channel, seq) WHERE state = 'waiting';
CREATE INDEX messages_over ON messages (state_at) WHERE state <> 'waiting';
