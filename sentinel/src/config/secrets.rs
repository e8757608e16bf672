//! Secrets that no settings file holds, beside the keys of intelligence sources: from the environment, else from a file.

use super::channels::web_url;
use super::fleet::signing_key;
use super::keys::Draft;
use super::load::{api_key, read};
use super::problem::{Place, Problem};
use crate::types::Secret;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Longest secret, bytes.
const LONGEST: usize = 4096;

/// One of them.
pub(super) struct SecretKey {
    /// What it is called where settings are told.
    pub(super) path: &'static str,
    /// The environment variable that holds it.
    pub(super) variable: &'static str,
    /// The key of the file that holds it, where the environment does not.
    pub(super) file: &'static str,
    /// Its place in a draft.
    pub(super) slot: for<'a> fn(&'a mut Draft) -> &'a mut Option<Secret>,
    /// The file named in a draft.
    named: for<'a> fn(&'a Draft) -> &'a Option<PathBuf>,
    /// What is wrong with a text, and the mend.
    check: fn(&str) -> Result<(), (String, String)>,
}

/// Every one.
pub(super) const SECRETS: &[SecretKey] = &[
    SecretKey {
        path: "alerting.email.password",
        variable: "SMTP_PASSWORD",
        file: "alerting.email.password_file",
        slot: |d| &mut d.config.alerting.email.password,
        named: |d| &d.config.alerting.email.password_file,
        check: one_line,
    },
    SecretKey {
        path: "alerting.slack.url",
        variable: "SLACK_WEBHOOK_URL",
        file: "alerting.slack.url_file",
        slot: |d| &mut d.config.alerting.slack.url,
        named: |d| &d.config.alerting.slack.url_file,
        check: |text| web_url(text).map(drop).map_err(|fault| (fault.message, fault.mend)),
    },
    SecretKey {
        path: "alerting.webhook.secret",
        variable: "WEBHOOK_SECRET",
        file: "alerting.webhook.secret_file",
        slot: |d| &mut d.config.alerting.webhook.secret,
        named: |d| &d.config.alerting.webhook.secret_file,
        check: one_line,
    },
    SecretKey {
        path: "bettercap.password",
        variable: "BETTERCAP_PASSWORD",
        file: "bettercap.password_file",
        slot: |d| &mut d.config.bettercap.password,
        named: |d| &d.config.bettercap.password_file,
        check: one_line,
    },
    SecretKey {
        path: "export.elasticsearch.api_key",
        variable: "ELASTICSEARCH_API_KEY",
        file: "export.elasticsearch.api_key_file",
        slot: |d| &mut d.config.export.elasticsearch.api_key,
        named: |d| &d.config.export.elasticsearch.api_key_file,
        check: key,
    },
    SecretKey {
        path: "export.elasticsearch.password",
        variable: "ELASTICSEARCH_PASSWORD",
        file: "export.elasticsearch.password_file",
        slot: |d| &mut d.config.export.elasticsearch.password,
        named: |d| &d.config.export.elasticsearch.password_file,
        check: one_line,
    },
    SecretKey {
        path: "fleet.key",
        variable: "FLEET_KEY",
        file: "fleet.key_file",
        slot: |d| &mut d.config.fleet.key,
        named: |d| &d.config.fleet.key_file,
        check: signing_key,
    },
    SecretKey {
        path: "fleet.password",
        variable: "REDIS_PASSWORD",
        file: "fleet.password_file",
        slot: |d| &mut d.config.fleet.password,
        named: |d| &d.config.fleet.password_file,
        check: one_line,
    },
    SecretKey {
        path: "intel.feeds.crowdsec.key",
        variable: "CROWDSEC_BOUNCER_KEY",
        file: "intel.feeds.crowdsec.key_file",
        slot: |d| &mut d.config.intel.feeds.crowdsec.key,
        named: |d| &d.config.intel.feeds.crowdsec.key_file,
        check: key,
    },
    SecretKey {
        path: "export.splunk.token",
        variable: "SPLUNK_HEC_TOKEN",
        file: "export.splunk.token_file",
        slot: |d| &mut d.config.export.splunk.token,
        named: |d| &d.config.export.splunk.token_file,
        check: key,
    },
];

/// The secret whose file this key names.
pub(super) fn of_file(path: &str) -> Option<&'static SecretKey> {
    SECRETS.iter().find(|secret| secret.file == path)
}

fn key(text: &str) -> Result<(), (String, String)> {
    api_key(text).map(drop)
}

fn one_line(text: &str) -> Result<(), (String, String)> {
    if text.len() <= LONGEST && !text.chars().any(char::is_control) {
        return Ok(());
    }
    let message = "holds no secret: it is too long, or has more than one line";
    Err((message.into(), "let it hold the secret and nothing else".into()))
}

/// Whether a file is there that we may not read.
pub(super) fn forbidden(file: &Path) -> bool {
    std::fs::File::open(file).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// Takes them in, and tells where each came from; where `lenient`, files that may not be read are passed over. What is wrong with one is said without repeating it.
pub(super) fn take(
    draft: &mut Draft,
    env: &[(String, String)],
    places: &mut BTreeMap<&'static str, Place>,
    named_at: impl Fn(&str) -> Place,
    problems: &mut Vec<Problem>,
    lenient: bool,
) {
    for secret in SECRETS {
        let variable = env
            .iter()
            .find(|(name, value)| name == secret.variable && !value.trim().is_empty());
        let found = if let Some((name, value)) = variable {
            let place = Place::Env(name.clone());
            (secret.check)(value.trim())
                .map(|()| (value.clone(), place.clone()))
                .map_err(|why| (place, "", why))
        } else {
            let Some(file) = (secret.named)(draft).clone() else {
                continue;
            };
            if lenient && forbidden(&file) {
                // That there is one is all that whoever asks the agent needs to know.
                *(secret.slot)(draft) = Some(Secret::new("unreadable"));
                continue;
            }
            of(&file, secret).map_err(|why| (named_at(secret.file), secret.file, why))
        };
        match found {
            Ok((text, place)) => {
                let text = text.trim();
                *(secret.slot)(draft) = Some(Secret::new(text));
                places.insert(secret.path, place);
            }
            Err((place, key, (message, mend))) => problems.push(Problem {
                place,
                key: key.to_owned(),
                message,
                mend,
            }),
        }
    }
}

fn of(file: &Path, secret: &SecretKey) -> Result<(String, Place), (String, String)> {
    let name = |(message, mend): (String, String)| (format!("{}: {message}", file.display()), mend);
    let text = read(file).map_err(name)?;
    if text.trim().is_empty() {
        let mend = "let it hold the secret and nothing else".to_owned();
        return Err(name(("is empty".to_owned(), mend)));
    }
    (secret.check)(text.trim()).map_err(name)?;
    Ok((text, Place::File(file.to_owned())))
}
