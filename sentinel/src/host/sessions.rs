//! Who is logged in over SSH right now.
//!
//! sshd names the peer in the environment of what it starts after a log-in, and only then (`SSH_CONNECTION`, sshd(8)):
//! peer, its port, our address, our port. Multiplexers keep that when the connection is long gone, so it counts only
//! while such a connection is established (`/proc/net/tcp`, proc_net_tcp(5)). Who guesses passwords has the connection
//! and not the environment. Without the right to read other users' environments (`CAP_SYS_PTRACE` and
//! `CAP_DAC_READ_SEARCH`, or root) only one's own sessions are seen so. What systemd-logind notes of sessions everybody may
//! read, and only root can write: there the peer counts while any connection of its is established. Where neither can be
//! read, as in a container that was given nothing of the host's, that is told: nobody seen is not nobody there.

use super::operator::{address, variables};
use caps::{CapSet, Capability};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Processes looked at in one reading.
const PROCESSES: usize = 16_384;
/// Where systemd-logind notes them, a file each.
const NOTED: &str = "/run/systemd/sessions";
/// The longest of these that is read, bytes.
const NOTE: u64 = 16_384;
/// How long a peer counts after its session ended: whoever lost a connection comes back.
const GRACE: Duration = Duration::from_mins(10);
/// Peers remembered; beyond that new ones are left out.
const PEERS: usize = 256;
/// How long a reading is waited for: another process can have its environment locked.
const PATIENCE: Duration = Duration::from_secs(5);
/// `TCP_ESTABLISHED` as `/proc/net/tcp` writes it.
const ESTABLISHED: &str = "01";
/// The inode of the first process namespace, the machine's own (`PROC_PID_INIT_INO`, linux/proc_ns.h).
const FIRST_NAMESPACE: u64 = 0xEFFF_FFFC;

/// A connection: peer and our end.
type Connection = (SocketAddr, SocketAddr);

/// What the thread that reads answers.
type Told = io::Result<Look>;

/// Why sessions may be open that are not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blind {
    /// Nobody notes them here, and other users' processes cannot be read.
    Wholly,
    /// The peer of one is noted by its name, and other users' processes cannot be read.
    Named,
}

impl Blind {
    /// What is wrong, and what the operator can do.
    pub(super) const fn told(self) -> [&'static str; 2] {
        match self {
            Self::Wholly => [
                "open sessions cannot be seen here (no notes in /run/systemd/sessions, and other processes cannot be \
                 read): who is logged in over SSH is not protected by that",
                "put your network on `allowlist`, or mount /run/systemd/sessions into the container; without \
                 systemd-logind it takes the host's processes (`pid: host`), CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
            ],
            Self::Named => [
                "the peer of an open session is noted by its name (sshd's `UseDNS yes`), and other processes cannot be \
                 read: whoever is logged in so is not protected by that",
                "put your network on `allowlist`, set `UseDNS no` in sshd_config, or give the agent CAP_SYS_PTRACE and \
                 CAP_DAC_READ_SEARCH",
            ],
        }
    }
}

/// What one look at the host finds.
#[derive(Debug, Default)]
struct Look {
    /// Peers of sessions whose connection stands.
    peers: BTreeSet<IpAddr>,
    /// Why there may be others.
    blind: Option<Blind>,
}

/// Who is logged in, as far as is known.
#[derive(Debug)]
pub(super) struct Known {
    /// Everybody who is or was a moment ago.
    pub(super) peers: BTreeSet<IpAddr>,
    /// Why there may be others.
    pub(super) blind: Option<Blind>,
    /// Why nobody could look.
    pub(super) unread: Option<io::Error>,
}

/// Peers of sessions, and when each was last seen.
#[derive(Debug)]
pub(super) struct Sessions {
    seen: BTreeMap<IpAddr, Instant>,
    asks: mpsc::Sender<oneshot::Sender<Told>>,
    /// The answer to an earlier question, where it took too long.
    awaited: Option<oneshot::Receiver<Told>>,
}

impl Sessions {
    /// Begins the thread that reads, which does `first` first and ends with this.
    ///
    /// # Errors
    /// Where there can be no thread.
    pub(super) fn begin(first: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (asks, asked) = mpsc::channel::<oneshot::Sender<_>>();
        std::thread::Builder::new().name("sessions".into()).spawn(move || {
            // What `first` leaves of the thread's rights are these; it may not look at them any more afterwards.
            let may_read = may_read();
            first();
            while let Ok(reply) = asked.recv() {
                // Whoever asked may have left.
                let _ = reply.send(current(may_read));
            }
        })?;
        Ok(Self {
            seen: BTreeMap::new(),
            asks,
            awaited: None,
        })
    }

    /// Looks who is logged in: everybody who is or was a moment ago. Where there are many processes that takes its time,
    /// beside everything else. Where it cannot be read, everybody who was stays, and why.
    pub(super) async fn look(&mut self) -> Known {
        let told = self.awaited.get_or_insert_with(|| {
            let (reply, told) = oneshot::channel();
            // Whoever does not hear us has ended, and drops the reply.
            let _ = self.asks.send(reply);
            told
        });
        let told = match tokio::time::timeout(PATIENCE, told).await {
            Ok(told) => {
                self.awaited = None;
                told.unwrap_or_else(|_| Err(io::Error::other("the thread that reads it is gone")))
            }
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match told {
            Ok(current) => Known {
                peers: self.take(current.peers, Instant::now()),
                blind: current.blind,
                unread: None,
            },
            Err(error) => Known {
                peers: self.keep(Instant::now()),
                blind: None,
                unread: Some(error),
            },
        }
    }

    /// Nobody's time passes while nobody can look.
    fn keep(&mut self, now: Instant) -> BTreeSet<IpAddr> {
        self.seen.values_mut().for_each(|last| *last = now);
        self.seen.keys().copied().collect()
    }

    fn take(&mut self, current: BTreeSet<IpAddr>, now: Instant) -> BTreeSet<IpAddr> {
        self.seen.retain(|_, last| now.duration_since(*last) < GRACE);
        for ip in current {
            if self.seen.len() < PEERS || self.seen.contains_key(&ip) {
                self.seen.insert(ip, now);
            }
        }
        self.seen.keys().copied().collect()
    }
}

/// What is not there has nothing in it, and what others keep from us is none of ours; that nothing can be opened any more
/// is another thing.
fn readable<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) => match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EIO) => Err(error),
            _ => Ok(None),
        },
    }
}

/// Peers of sessions whose connection stands, and why there may be others.
///
/// # Errors
/// Where files can be opened no more.
fn current(may_read: bool) -> io::Result<Look> {
    let running = processes()?;
    let noted = noted(Path::new(NOTED))?;
    let blind = blind(
        running.all_read(machines(), may_read),
        noted.as_ref().filter(|_| kept(Path::new(NOTED))),
    );
    let noted = noted.unwrap_or_default().peers;
    if running.named.is_empty() && noted.is_empty() {
        return Ok(Look {
            peers: BTreeSet::new(),
            blind,
        });
    }
    let mut standing = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        standing.extend(established(&readable(fs::read_to_string(table))?.unwrap_or_default()));
    }
    let by_note = standing
        .iter()
        .map(|(peer, _)| peer.ip())
        .filter(|ip| noted.contains(ip));
    let by_name = running.named.intersection(&standing).map(|(peer, _)| peer.ip());
    Ok(Look {
        peers: by_name.chain(by_note).collect(),
        blind,
    })
}

/// Whether either way of knowing tells of everybody.
fn blind(all_read: bool, noted: Option<&Noted>) -> Option<Blind> {
    match noted {
        _ if all_read => None,
        None => Some(Blind::Wholly),
        Some(noted) => noted.by_name.then_some(Blind::Named),
    }
}

/// What the environments of processes tell.
#[derive(Debug, Default)]
struct Processes {
    /// The connections they name.
    named: BTreeSet<Connection>,
    /// Whether another user's could be read; `None` where there are none.
    others_read: Option<bool>,
}

impl Processes {
    /// Whether everybody's are among what was read; `machines` is whether the process namespace is the machine's own. In one of a
    /// container's own those of the host are not, whatever else is there. While there is nobody else's, it is the right to read them that
    /// counts.
    fn all_read(&self, machines: bool, may_read: bool) -> bool {
        machines && self.others_read.unwrap_or(may_read)
    }
}

/// Whether this thread may read other users' environments.
fn may_read() -> bool {
    let held = |one| caps::has_cap(None, CapSet::Permitted, one).unwrap_or(false);
    held(Capability::CAP_SYS_PTRACE) && held(Capability::CAP_DAC_READ_SEARCH)
}

/// Whether the process namespace is the machine's own.
fn machines() -> bool {
    fs::metadata("/proc/self/ns/pid").is_ok_and(|about| about.ino() == FIRST_NAMESPACE)
}

fn processes() -> io::Result<Processes> {
    let own = fs::metadata("/proc/self").map(|about| about.uid()).ok();
    let mut found = Processes::default();
    for entry in readable(fs::read_dir("/proc"))?
        .into_iter()
        .flatten()
        .flatten()
        .take(PROCESSES)
    {
        let process = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
        if !process {
            continue;
        }
        let environment = fs::read(entry.path().join("environ"));
        let read = match &environment {
            Ok(environment) if !environment.is_empty() => Some(true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(false),
            // The kernel's own have none, nor has what ended.
            _ => None,
        };
        // A single one may be refused by a security module.
        if read.is_some()
            && found.others_read != Some(true)
            && entry.metadata().is_ok_and(|about| Some(about.uid()) != own)
        {
            found.others_read = read;
        }
        if let Some(environment) = readable(environment)? {
            found.named.extend(connections(&environment));
        }
    }
    Ok(found)
}

/// Whether notes are kept in a directory: `/run` is a file system of its own, and what an image brings along lies in that
/// of everything else.
fn kept(directory: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|about| about.dev());
    matches!((device(directory), device(Path::new("/"))), (Ok(notes), Ok(root)) if notes != root)
}

/// What systemd-logind notes of sessions that go on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Noted {
    /// Their peers.
    peers: BTreeSet<IpAddr>,
    /// Whether there is one whose peer has a name there and no address.
    by_name: bool,
}

/// `None` where there is no such directory to be read.
fn noted(directory: &Path) -> io::Result<Option<Noted>> {
    let Some(files) = readable(fs::read_dir(directory))? else {
        return Ok(None);
    };
    let mut found = Noted::default();
    for file in files.flatten().take(PROCESSES) {
        // Beside each note lies a pipe, `ID.ref`, that is written to for as long as its session goes on: whoever read it
        // would wait until that person logs out.
        if !file.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let open = fs::File::options()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(file.path());
        let open = readable(open)?.filter(|open| open.metadata().is_ok_and(|about| about.is_file()));
        let mut text = String::new();
        if let Some(open) = open
            && open.take(NOTE).read_to_string(&mut text).is_ok()
            && let Some(host) = host_of(&text)
        {
            match address(host) {
                Some(peer) => {
                    found.peers.insert(peer);
                }
                None => found.by_name = true,
            }
        }
    }
    Ok(Some(found))
}

/// The peer of a session that goes on, as systemd-logind writes it: its address, or a name where sshd looks names up.
fn host_of(note: &str) -> Option<&str> {
    let value = |key: &str| note.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let goes_on =
        value("REMOTE") == Some("1") && value("CLASS").is_some_and(is_a_persons) && value("STATE") != Some("closing");
    // What sshd says of a peer that has no address, such as a machine's own host.
    value("REMOTE_HOST").filter(|host| goes_on && !matches!(*host, "" | "UNKNOWN"))
}

/// Whether sessions of a class (pam_systemd(8)) are those of people: since systemd 256 root's is `user-early`, since 258
/// there are `user-light` and `user-early-light`. Whoever is not through logging in yet is nobody.
fn is_a_persons(class: &str) -> bool {
    class.starts_with("user") && class != "user-incomplete"
}

/// The connections an environment names.
fn connections(environment: &[u8]) -> impl Iterator<Item = Connection> {
    variables(environment)
        .filter_map(|variable| variable.strip_prefix("SSH_CONNECTION="))
        .filter_map(|value| {
            let mut words = value.split(' ');
            let mut end = || {
                let ip = address(words.next()?)?;
                Some(SocketAddr::new(ip, words.next()?.parse().ok()?))
            };
            Some((end()?, end()?))
        })
}

/// Established connections of a table.
fn established(table: &str) -> impl Iterator<Item = Connection> {
    table.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (own, peer, state) = (words.next()?, words.next()?, words.next()?);
        (state == ESTABLISHED).then_some((socket(peer)?, socket(own)?))
    })
}

/// `0100007F:0016`: the address in words of the host's byte order, the port in hexadecimal.
fn socket(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        u32::from_str_radix(address.get(at..at + 8)?, 16)
            .ok()
            .map(u32::to_ne_bytes)
    };
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (n, part) in octets.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(8 * n)?);
            }
            IpAddr::from(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests;
