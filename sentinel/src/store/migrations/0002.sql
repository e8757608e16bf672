-- Until when a decision that is over is on probation; NULL while it is in force, and where it is not watched.
ALTER TABLE decisions ADD COLUMN watch_until INTEGER;
CREATE INDEX decisions_watched ON decisions (seq) WHERE watch_until IS NOT NULL;
