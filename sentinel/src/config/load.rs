//! The layers: defaults, files, their local overrides, the environment.

use super::check;
use super::intel::KEY_VARIABLES;
use super::keys::{self, Draft};
use super::problem::{Place, Problem};
use super::resolved::Config;
use super::secrets;
use super::tree::{self, Node, Value};
use super::value::{Fault, closest, quote};
use crate::types::Secret;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What the names of our environment variables begin with.
pub const ENV_PREFIX: &str = "SENTINEL_";

/// A settings file beyond this size is refused, bytes.
const MAX_FILE: u64 = 8 << 20;

/// Where each value came from, by path.
pub(super) type Places = BTreeMap<&'static str, Place>;

/// Where the values of a configuration came from, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    pub(super) places: Places,
    /// Of the keys of sources, by the name of the source.
    pub(super) secrets: BTreeMap<&'static str, Place>,
    /// As it was written: a configuration only keeps what it and `mode` come to together.
    pub(super) enable_production_actions: bool,
}

/// The file read when none is named: `/etc/sentinel/settings.yml`, else `config/settings.yml`, else none. One that is there and
/// cannot be read is the one.
pub fn default_files() -> Vec<PathBuf> {
    ["/etc/sentinel/settings.yml", "config/settings.yml"]
        .map(PathBuf::from)
        .into_iter()
        .find(|file| there(file))
        .into_iter()
        .collect()
}

/// Whether something is there, be it out of reach: who takes that for nothing runs by the defaults, without an allowlist.
fn there(file: &Path) -> bool {
    let absent = |error: &io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    !std::fs::symlink_metadata(file).is_err_and(|error| absent(&error))
}

/// Reads `files` in order (each followed by its `.local.yml` if there is one), then `env`; later wins.
///
/// # Errors
/// Every problem of every layer, in the order of the layers; never empty.
pub fn load(files: &[PathBuf], env: impl IntoIterator<Item = (String, String)>) -> Result<Config, Vec<Problem>> {
    layers(files, env, Reader::default()).finish()
}

/// The same for whoever only talks to the agent: secrets in files that it may not read are left out.
///
/// # Errors
/// As [`load`].
pub fn load_for_client(
    files: &[PathBuf],
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Vec<Problem>> {
    let reader = Reader {
        lenient: true,
        ..Reader::default()
    };
    layers(files, env, reader).finish()
}

/// The same, with where each value came from.
///
/// # Errors
/// As [`load`].
pub fn load_with_origins(
    files: &[PathBuf],
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<(Config, Origins), Vec<Problem>> {
    let reader = layers(files, env, Reader::default());
    let origins = Origins {
        places: reader.origins.clone(),
        secrets: reader.secrets.clone(),
        enable_production_actions: reader.draft.enable_production_actions,
    };
    Ok((reader.finish()?, origins))
}

fn layers(files: &[PathBuf], env: impl IntoIterator<Item = (String, String)>, mut reader: Reader) -> Reader {
    for file in files {
        reader.file(file);
        if let Some(local) = local_of(file).filter(|local| there(local)) {
            reader.file(&local);
        }
    }
    let (mut env, others): (Vec<_>, Vec<_>) = env.into_iter().partition(|(name, _)| name.starts_with(ENV_PREFIX));
    env.sort();
    for (name, value) in &env {
        reader.variable(name, value);
    }
    reader.api_keys(&others);
    reader.secrets(&others);
    reader
}

/// `settings.yml` → `settings.local.yml`; a local file has none of its own.
pub(super) fn local_of(file: &Path) -> Option<PathBuf> {
    let stem = file.file_stem()?.to_str()?;
    let extension = file.extension()?.to_str()?;
    (Path::new(stem).extension() != Some("local".as_ref()))
        .then(|| file.with_file_name(format!("{stem}.local.{extension}")))
}

#[derive(Default)]
pub(super) struct Reader {
    draft: Draft,
    origins: Places,
    secrets: BTreeMap<&'static str, Place>,
    problems: Vec<Problem>,
    /// Secrets that may not be read are left out.
    lenient: bool,
}

impl Reader {
    fn file(&mut self, file: &Path) {
        match read(file) {
            Ok(text) => self.text(file, &text),
            Err((message, mend)) => self.problems.push(Problem {
                place: Place::File(file.to_owned()),
                key: String::new(),
                message,
                mend,
            }),
        }
    }

    /// Reads one layer from a text.
    pub(super) fn text(&mut self, file: &Path, text: &str) {
        match tree::parse(text) {
            Ok(root) => match &root.value {
                Value::Map(pairs) => self.section(file, "", pairs),
                Value::Null => {}
                other => self.at(
                    file,
                    &root,
                    "",
                    Fault {
                        message: format!("is {} where sections belong", other.kind()),
                        mend: "start from config/settings.yml".into(),
                    },
                ),
            },
            Err(error) => self.problems.push(Problem {
                place: Place::Line {
                    file: file.to_owned(),
                    line: error.line,
                    column: error.column,
                },
                key: String::new(),
                message: error.message,
                mend: "mend that line; indent with spaces and put texts with `:` or `#` in quotes".into(),
            }),
        }
    }

    fn at(&mut self, file: &Path, node: &Node, key: &str, fault: Fault) {
        self.problems.push(Problem {
            place: Place::Line {
                file: file.to_owned(),
                line: node.line,
                column: node.column,
            },
            key: key.escape_debug().collect(),
            message: fault.message,
            mend: fault.mend,
        });
    }

    fn section(&mut self, file: &Path, section: &str, pairs: &[(Node, Node)]) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (name_node, node) in pairs {
            let Value::Text(name) = &name_node.value else {
                self.at(
                    file,
                    name_node,
                    section,
                    Fault {
                        message: format!("has {} for a name of a key", name_node.value.kind()),
                        mend: "write `key: value`".into(),
                    },
                );
                continue;
            };
            let path = if section.is_empty() {
                name.clone()
            } else {
                format!("{section}.{name}")
            };
            if let Some(line) = seen.insert(name, name_node.line) {
                self.at(
                    file,
                    name_node,
                    &path,
                    Fault {
                        message: format!("stands here again after line {line}"),
                        mend: "keep one of the two".into(),
                    },
                );
                continue;
            }
            if let Some(key) = keys::find(&path) {
                self.value(file, key, node, name_node);
            } else if keys::is_section(&path) {
                match &node.value {
                    Value::Map(pairs) => self.section(file, &path, pairs),
                    Value::Null => {}
                    other => self.at(
                        file,
                        node,
                        &path,
                        Fault {
                            message: format!("is {} where a section belongs", other.kind()),
                            mend: format!("give it keys: {}", keys::children(&path).join(", ")),
                        },
                    ),
                }
            } else {
                let fault = unknown(section, name);
                self.at(file, name_node, &path, fault);
            }
        }
    }

    fn value(&mut self, file: &Path, key: &'static keys::Key, node: &Node, name: &Node) {
        let outcome = (key.slot)(&mut self.draft).fill(&node.value);
        for (index, fault) in outcome.err().unwrap_or_default() {
            let place = match (&node.value, index) {
                (Value::List(items), Some(index)) => items.get(index).unwrap_or(node),
                (Value::Null, _) => name,
                _ => node,
            };
            self.at(file, place, key.path, fault);
        }
        self.origins.insert(
            key.path,
            Place::Line {
                file: file.to_owned(),
                line: node.line,
                column: node.column,
            },
        );
    }

    pub(super) fn variable(&mut self, name: &str, value: &str) {
        let path = name
            .trim_start_matches(ENV_PREFIX)
            .to_ascii_lowercase()
            .replace("__", ".");
        let place = Place::Env(name.to_owned());
        let faults = match keys::find(&path) {
            Some(key) => {
                self.origins.insert(key.path, place.clone());
                let outcome = (key.slot)(&mut self.draft).fill_env(value);
                outcome
                    .err()
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(_, fault)| fault)
                    .collect()
            }
            None if keys::is_section(&path) => vec![Fault {
                message: "names a section, not a key".into(),
                mend: format!(
                    "set one of its keys, such as {name}__{}",
                    keys::children(&path)[0].to_uppercase()
                ),
            }],
            None => vec![unknown_variable(&path)],
        };
        self.problems.extend(faults.into_iter().map(|fault| Problem {
            place: place.clone(),
            key: path.escape_debug().collect(),
            message: fault.message,
            mend: fault.mend,
        }));
    }

    /// Takes the other secrets.
    fn secrets(&mut self, env: &[(String, String)]) {
        let origins = &self.origins;
        let named_at = |key: &str| origins.get(key).cloned().unwrap_or(Place::Default);
        let lenient = self.lenient;
        secrets::take(
            &mut self.draft,
            env,
            &mut self.secrets,
            named_at,
            &mut self.problems,
            lenient,
        );
    }

    /// Takes the sources' keys from the environment, else from the files named for them.
    fn api_keys(&mut self, env: &[(String, String)]) {
        for (name, value) in env {
            let known = KEY_VARIABLES.iter().find(|(variable, _)| *variable == Some(name));
            let Some((_, whose)) = known else { continue };
            if let Some(source) = self.draft.config.intel.sources.named(whose) {
                match api_key(value) {
                    Ok(key) => {
                        source.key = key;
                        self.secrets.insert(whose, Place::Env(name.clone()));
                    }
                    Err((message, mend)) => self.problems.push(Problem {
                        place: Place::Env(name.clone()),
                        key: String::new(),
                        message,
                        mend,
                    }),
                }
            }
        }
        for key in keys::all().filter(|key| key.path.ends_with(".key_file")) {
            let name = key
                .path
                .trim_start_matches("intel.sources.")
                .trim_end_matches(".key_file");
            let Some(source) = self.draft.config.intel.sources.named(name) else {
                continue;
            };
            let Some(file) = source.key_file.as_deref().filter(|_| source.key.is_none()) else {
                continue;
            };
            if self.lenient && secrets::forbidden(file) {
                // There is one, which is all that whoever asks the agent needs to know.
                source.key = Some(Secret::new("unreadable"));
                continue;
            }
            match read(file).and_then(|text| api_key(&text)) {
                Ok(found) => {
                    source.key = found;
                    self.secrets.insert(name, Place::File(file.to_owned()));
                }
                Err((message, mend)) => self.problems.push(Problem {
                    place: self.origins.get(key.path).cloned().unwrap_or(Place::Default),
                    key: key.path.to_owned(),
                    message: format!("{}: {message}", file.display()),
                    mend,
                }),
            }
        }
    }

    /// Where each value read so far came from.
    #[cfg(test)]
    pub(super) const fn origins(&self) -> &Places {
        &self.origins
    }

    /// Cross checks, and the outcome.
    pub(super) fn finish(mut self) -> Result<Config, Vec<Problem>> {
        check::cross(&self.draft, &self.origins, &mut self.problems);
        if self.problems.is_empty() {
            Ok(self.draft.config)
        } else {
            Err(self.problems)
        }
    }
}

fn unknown(section: &str, name: &str) -> Fault {
    let here = keys::children(section);
    let mend = if let Some(near) = closest(name, here.iter().copied()) {
        format!("did you mean `{near}`?")
    } else if let Some(key) = keys::all().find(|key| key.path.rsplit('.').next() == Some(name)) {
        format!("did you mean `{}`? Check the indentation", key.path)
    } else {
        format!("known here are {}", here.join(", "))
    };
    Fault {
        message: format!("{} is not a key", quote(name)),
        mend,
    }
}

fn unknown_variable(path: &str) -> Fault {
    let mend = match closest(path, keys::all().map(|key| key.path)) {
        Some(near) => format!("did you mean {ENV_PREFIX}{}?", near.to_uppercase().replace('.', "__")),
        None => format!("unset it; variables are {ENV_PREFIX}<SECTION>__<KEY> as in config/settings.yml"),
    };
    Fault {
        message: "names no key".into(),
        mend,
    }
}

/// Longest key of an API.
const API_KEY: usize = 512;

/// A key as a server wants it; empty for none. What is wrong with it is said without repeating it.
pub(super) fn api_key(text: &str) -> Result<Option<Secret>, (String, String)> {
    let text = text.trim();
    if text.len() > API_KEY || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err((
            "holds no API key: it is too long, or has characters that no key has".into(),
            "let it hold the key and nothing else".into(),
        ));
    }
    Ok((!text.is_empty()).then(|| Secret::new(text)))
}

/// The text of a file, or what is wrong and the mend.
pub(super) fn read(file: &Path) -> Result<String, (String, String)> {
    use std::io::Read;
    let mend = match std::fs::metadata(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => "name an existing file with -c",
        Ok(meta) if meta.is_dir() => "name a file, not a directory",
        _ => "let the user who runs sentinel read it",
    };
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| (format!("cannot be read: {error}"), mend.to_owned()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(("is longer than 8 MiB".into(), "is it the right file?".into()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].split(|b| *b == b'\n').count();
        (format!("is not UTF-8 in line {line}"), "save it as UTF-8".into())
    })
}
