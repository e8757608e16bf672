-- What an alert led to, for pages that show many alerts.
CREATE INDEX decisions_alert ON decisions (alert) WHERE alert IS NOT NULL;
