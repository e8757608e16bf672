//! Countries and networks, from the operator's own databases in MaxMind's format.
//!
//! A file that is replaced is noticed and opened; one that is broken is refused, told, and the old one stays. Beside
//! MaxMind's own (<https://dev.maxmind.com/geoip/docs/databases>) the fields of DB-IP's and IPinfo's files are known.

use crate::config::GeoipConfig;
use crate::types::{Component, Condition, GeoStatus, Health, INDICATOR_TEXT, Timestamp};
use ipnet::IpNet;
use maxminddb::{LookupResult, MaxMindDbError, Reader, WithinOptions, path};
use serde::de::IgnoredAny;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(10);
/// The longest database that is read, bytes: it is held in memory.
const BYTES_MAX: u64 = 1 << 30;

/// Where an address is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// ISO 3166-1 alpha-2, upper case.
    pub country: Option<String>,
    /// Autonomous system, such as `AS64500 Example Net`.
    pub network: Option<String>,
    /// The prefix that the database has the address in as one of it.
    pub network_prefix: Option<IpNet>,
}

type Database = Reader<Vec<u8>>;

/// What tells one file from another: device, inode, length, time of change (s, ns).
type Mark = (u64, u64, u64, i64, i64);

#[derive(Default)]
struct Looked {
    mark: Option<Mark>,
    error: Option<String>,
}

struct Book {
    name: &'static str,
    path: PathBuf,
    open: RwLock<Option<Arc<Database>>>,
    looked: Mutex<Looked>,
}

/// The databases; cheap to clone.
#[derive(Clone)]
pub struct Geo {
    country: Option<Arc<Book>>,
    asn: Option<Arc<Book>>,
}

impl Geo {
    /// The databases the configuration names, not opened yet: [`Geo::refresh`] or [`Geo::run`] does.
    pub fn new(config: &GeoipConfig) -> Self {
        let book = |name, path: &Option<PathBuf>| {
            path.as_ref().map(|path| {
                Arc::new(Book {
                    name,
                    path: path.clone(),
                    open: RwLock::default(),
                    looked: Mutex::default(),
                })
            })
        };
        Self {
            country: book("country", &config.country),
            asn: book("asn", &config.asn),
        }
    }

    fn books(&self) -> impl Iterator<Item = &Arc<Book>> {
        self.country.iter().chain(&self.asn)
    }

    /// Opens what is new or was replaced. Reads and checks whole files: seconds for the largest.
    pub fn refresh(&self) {
        for book in self.books() {
            book.refresh();
        }
    }

    /// Where an address is, as far as the databases know. Never fails: what cannot be read is not known.
    pub fn look_up(&self, ip: IpAddr) -> Whereabouts {
        let ip = ip.to_canonical();
        let network = ask(self.asn.as_ref(), ip, |found| {
            Some((network(found)?, prefix(found, ip)))
        });
        let (network, network_prefix) = network.map_or((None, None), |(name, prefix)| (Some(name), prefix));
        Whereabouts {
            country: ask(self.country.as_ref(), ip, country),
            network,
            network_prefix,
        }
    }

    /// How the databases stand; empty where none is configured.
    pub fn status(&self) -> Vec<GeoStatus> {
        self.books().map(|book| book.status()).collect()
    }

    /// Opens the databases and follows their files until `cancel`.
    pub async fn run(self, health: watch::Sender<Arc<Health>>, cancel: CancellationToken) {
        if self.books().next().is_none() {
            cancel.cancelled().await;
            return;
        }
        loop {
            let geo = self.clone();
            let refresh = tokio::task::spawn_blocking(move || geo.refresh());
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = refresh => {}
            }
            let condition = self.condition();
            health.send_if_modified(|board| Health::note(board, Component::Geoip, condition));
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    fn condition(&self) -> Condition {
        let all = self.status();
        let troubles: Vec<String> = all
            .iter()
            .filter_map(|one| one.error.as_ref().map(|error| format!("{}: {error}", one.database)))
            .collect();
        if troubles.is_empty() {
            let kinds: Vec<String> = all.into_iter().filter_map(|one| one.kind).collect();
            return Condition::Ok {
                detail: kinds.join(", "),
            };
        }
        Condition::Degraded {
            cause: troubles.join("; "),
            mend: "put a whole database of MaxMind's format in its place; it is noticed within seconds".into(),
        }
    }
}

impl Book {
    fn reader(&self) -> Option<Arc<Database>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn looked(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk may take its time, or hang: whoever asks how things stand does not wait for it.
    fn refresh(&self) {
        let about = match std::fs::metadata(&self.path) {
            Ok(about) => about,
            Err(error) => {
                let error = Some(format!("{}: {error}", self.path.display()));
                *self.looked() = Looked { mark: None, error };
                return;
            }
        };
        let mark = Some((about.dev(), about.ino(), about.len(), about.mtime(), about.mtime_nsec()));
        if self.looked().mark == mark {
            return;
        }
        let error = match open(&self.path) {
            Ok(reader) => {
                let kind = bounded(&reader.metadata().database_type);
                tracing::info!(database = self.name, kind, "opened");
                *self.open.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(reader));
                None
            }
            Err(error) => {
                let error = format!("{}: {error}", self.path.display());
                tracing::warn!(database = self.name, %error, "refused; what was open stays");
                Some(error)
            }
        };
        *self.looked() = Looked { mark, error };
    }

    fn status(&self) -> GeoStatus {
        let open = self.reader();
        let about = open.as_ref().map(|open| open.metadata());
        GeoStatus {
            database: self.name.to_owned(),
            path: self.path.clone(),
            kind: about.map(|about| bounded(&about.database_type)),
            built_at: about.map(|about| Timestamp((about.build_epoch as i64).saturating_mul(1_000_000_000))),
            error: self.looked().error.clone(),
        }
    }
}

fn open(path: &std::path::Path) -> Result<Database, String> {
    let bytes = read(path).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(format!("longer than {BYTES_MAX} bytes"));
    }
    let reader = Reader::from_source(bytes).map_err(|error| format!("no database: {}", bounded(&error.to_string())))?;
    whole(&reader).map_err(|error| format!("damaged: {}", bounded(&error.to_string())))?;
    Ok(reader)
}

/// A regular file's bytes, one more than may be at most; a pipe or a device is not waited for.
fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    let regular = |about: &std::fs::Metadata| {
        if about.is_file() {
            return Ok(());
        }
        Err(std::io::Error::other("it is no regular file"))
    };
    regular(&std::fs::metadata(path)?)?;
    let mut options = std::fs::File::options();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    regular(&file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Walks every network and every record. `Reader::verify` would refuse what others write sparingly, such as a database
/// without a description.
fn whole(reader: &Database) -> Result<(), MaxMindDbError> {
    for found in reader.networks(WithinOptions::default())? {
        found?.decode::<IgnoredAny>()?;
    }
    Ok(())
}

/// What a database says of an address.
fn ask<T>(
    book: Option<&Arc<Book>>,
    ip: IpAddr,
    read: impl FnOnce(&LookupResult<'_, Vec<u8>>) -> Option<T>,
) -> Option<T> {
    let open = book?.reader()?;
    let found = open.lookup(ip).ok()?;
    read(&found)
}

fn text(found: &LookupResult<'_, Vec<u8>>, path: &[maxminddb::PathElement<'_>]) -> Option<String> {
    let text: String = found.decode_path(path).ok().flatten()?;
    let text = bounded(&text);
    (!text.is_empty()).then_some(text)
}

fn country(found: &LookupResult<'_, Vec<u8>>) -> Option<String> {
    let paths: [&[maxminddb::PathElement<'_>]; 4] = [
        &path!["country", "iso_code"],
        &path!["registered_country", "iso_code"],
        // IPinfo's.
        &path!["country_code"],
        &path!["country"],
    ];
    paths
        .iter()
        .filter_map(|path| text(found, path))
        .map(|code| code.to_ascii_uppercase())
        .find(|code| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase()))
}

fn network(found: &LookupResult<'_, Vec<u8>>) -> Option<String> {
    let number: Option<u32> = found.decode_path(&path!["autonomous_system_number"]).ok().flatten();
    let number = number
        .map(|number| format!("AS{number}"))
        // IPinfo's.
        .or_else(|| text(found, &path!["asn"]))?;
    let name = text(found, &path!["autonomous_system_organization"]).or_else(|| text(found, &path!["as_name"]));
    Some(name.map_or(number.clone(), |name| format!("{number} {name}")))
}

/// The prefix of a record, where it is of the address's own family and holds it.
fn prefix(found: &LookupResult<'_, Vec<u8>>, ip: IpAddr) -> Option<IpNet> {
    let of = found.network().ok()?;
    let net = IpNet::new(of.ip(), of.prefix()).ok()?.trunc();
    net.contains(&ip).then_some(net)
}

/// A file's text: bounded, without control characters.
fn bounded(text: &str) -> String {
    text.trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(INDICATOR_TEXT)
        .collect()
}

#[cfg(test)]
mod tests;
