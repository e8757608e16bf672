-- Who was seen beside us, by how and by hardware address.
CREATE TABLE sightings (
    kind     TEXT    NOT NULL,
    mac      TEXT    NOT NULL,
    ip       BLOB,
    last_at  INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    gone     INTEGER NOT NULL,
    name     TEXT    NOT NULL,
    vendor   TEXT    NOT NULL,
    sensor   TEXT    NOT NULL,
    PRIMARY KEY (kind, mac)
) STRICT, WITHOUT ROWID;
CREATE INDEX sightings_last ON sightings (last_at);
CREATE INDEX sightings_ip ON sightings (ip) WHERE ip IS NOT NULL;
