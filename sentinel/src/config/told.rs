//! The settings in force for people: a tree of every key with its value, where that came from and what it means.
//! Secrets are masked.

use super::dump::show;
use super::intel::KEY_VARIABLES;
use super::keys::{self, Draft};
use super::load::Origins;
use super::problem::Place;
use super::resolved::{Config, Mode};
use super::secrets::{self, SecretKey};
use super::value::Slot;
use serde::Serialize;
use std::path::PathBuf;
use utoipa::ToSchema;

/// Stands where a secret does.
const MASK: &str = "***";

/// A section with its settings, or one setting.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Told {
    /// A section.
    Section(Section),
    /// A key with its value.
    Setting(Setting),
}

/// A section, in the order of the file.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Section {
    /// Last part of its path.
    pub name: String,
    /// Dotted path.
    pub key: String,
    /// What is in it.
    #[schema(no_recursion)]
    pub settings: Vec<Told>,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Setting {
    /// Last part of its path.
    pub name: String,
    /// Dotted path.
    pub key: String,
    /// As people write it; `***` stands for what is secret.
    pub value: String,
    /// What it is where nobody says otherwise.
    pub default: String,
    /// It is not that.
    pub changed: bool,
    /// Something of it is not shown.
    pub masked: bool,
    /// Where it came from.
    pub origin: ToldOrigin,
    /// What it is for.
    pub description: String,
    /// What may stand there.
    pub expects: String,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum ToldOrigin {
    /// Nobody wrote it down.
    Default,
    /// A file.
    File {
        /// As it was named on the command line.
        #[schema(value_type = String)]
        file: PathBuf,
        /// Counted from 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<usize>,
    },
    /// The environment.
    Environment {
        /// Name of the variable.
        variable: String,
    },
}

impl From<Option<&Place>> for ToldOrigin {
    fn from(place: Option<&Place>) -> Self {
        match place {
            None | Some(Place::Default) => Self::Default,
            Some(Place::File(file)) => Self::File {
                file: file.clone(),
                line: None,
            },
            Some(Place::Line { file, line, .. }) => Self::File {
                file: file.clone(),
                line: Some(*line),
            },
            Some(Place::Env(variable)) => Self::Environment {
                variable: variable.clone(),
            },
        }
    }
}

/// Every key of a configuration, and whether each source has its secret key.
pub fn told(config: &Config, origins: &Origins) -> Vec<Told> {
    let mut draft = Draft {
        config: config.clone(),
        enable_production_actions: origins.enable_production_actions || config.mode == Mode::Production,
    };
    let mut built_in = Draft::default();
    let mut all = Vec::new();
    for key in keys::all() {
        let default = show(&(key.slot)(&mut built_in), MASK);
        let slot = (key.slot)(&mut draft);
        let value = show(&slot, MASK);
        let setting = Setting {
            name: String::new(),
            key: key.path.to_owned(),
            masked: hides(&slot, &value),
            changed: value != default,
            value,
            default,
            origin: origins.places.get(key.path).into(),
            description: key.doc.to_owned(),
            expects: slot.wants(),
        };
        insert(&mut all, key.path, setting);
        if let Some(source) = source_of(key.path) {
            let setting = source_key(config, origins, source);
            let path = setting.key.clone();
            insert(&mut all, &path, setting);
        }
        if let Some(secret) = secrets::of_file(key.path) {
            let set = (secret.slot)(&mut draft).is_some();
            insert(&mut all, secret.path, secret_setting(secret, set, origins));
        }
    }
    all
}

/// Whether something of a value is not shown.
fn hides(slot: &Slot<'_>, shown: &str) -> bool {
    match slot {
        Slot::Url(value) => **value != shown,
        Slot::Cache(_) | Slot::Feeds(_) | Slot::Words(_) => shown.contains(MASK),
        _ => false,
    }
}

/// Whether there is a secret, which is never shown.
fn secret_setting(secret: &SecretKey, set: bool, origins: &Origins) -> Setting {
    let file = secret.file.rsplit('.').next().unwrap_or_default();
    Setting {
        name: String::new(),
        key: secret.path.to_owned(),
        value: if set { MASK } else { "not set" }.to_owned(),
        default: "not set".to_owned(),
        changed: set,
        masked: set,
        origin: origins.secrets.get(secret.path).into(),
        description: "A secret, which no settings file holds".to_owned(),
        expects: format!("environment variable {}, or what is in `{file}`", secret.variable),
    }
}

/// The source whose `key_file` this is.
fn source_of(path: &str) -> Option<&str> {
    path.strip_prefix("intel.sources.")?.strip_suffix(".key_file")
}

/// Whether a source has its key, which is never shown.
fn source_key(config: &Config, origins: &Origins, name: &str) -> Setting {
    let set = config
        .intel
        .sources
        .clone()
        .named(name)
        .is_some_and(|s| s.key.is_some());
    let variable = KEY_VARIABLES.iter().find(|(_, source)| *source == name);
    let expects = match variable.and_then(|(variable, _)| *variable) {
        Some(variable) => format!("environment variable {variable}, or what is in `key_file`"),
        None => "what is in `key_file`".to_owned(),
    };
    Setting {
        name: String::new(),
        key: format!("intel.sources.{name}.key"),
        value: if set { MASK } else { "not set" }.to_owned(),
        default: "not set".to_owned(),
        changed: set,
        masked: set,
        origin: origins.secrets.get(name).into(),
        description: "Key of its API, which no settings file holds".to_owned(),
        expects,
    }
}

/// Puts a setting where its path leads, making sections on the way.
fn insert(level: &mut Vec<Told>, path: &str, mut setting: Setting) {
    let depth = path.split('.').count();
    let mut at = level;
    let mut walked = String::new();
    for part in path.split('.').take(depth - 1) {
        if !walked.is_empty() {
            walked.push('.');
        }
        walked.push_str(part);
        let found = at
            .iter()
            .position(|told| matches!(told, Told::Section(section) if section.name == part));
        let place = found.unwrap_or_else(|| {
            at.push(Told::Section(Section {
                name: part.to_owned(),
                key: walked.clone(),
                settings: Vec::new(),
            }));
            at.len() - 1
        });
        let Told::Section(section) = &mut at[place] else {
            return;
        };
        at = &mut section.settings;
    }
    path.rsplit('.').next().unwrap_or(path).clone_into(&mut setting.name);
    at.push(Told::Setting(setting));
}

#[cfg(test)]
mod tests;
