//! Who is logged in over SSH right now.
//!
//! sshd names the peer in the environment of what it starts after a log-in, and only then (`SSH_CONNECTION`, sshd(8)):
//! peer, its port, our address, our port. Multiplexers keep that when the connection is long gone, so it counts only
//! while such a connection is established (`/proc/net/tcp`, proc_net_tcp(5)). Who guesses passwords has the connection
//! and not the environment. Without the right to read other users' environments (`CAP_SYS_PTRACE` and
//! `CAP_DAC_READ_SEARCH`, or root) only one's own sessions are seen so. What systemd-logind notes of sessions everybody may
//! read, and only root can write: there the peer counts while any connection of its is established.

use super::operator::{address, variables};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
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

/// A connection: peer and our end.
type Connection = (SocketAddr, SocketAddr);

/// What the thread that reads answers.
type Told = io::Result<BTreeSet<IpAddr>>;

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
            first();
            while let Ok(reply) = asked.recv() {
                // Whoever asked may have left.
                let _ = reply.send(current());
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
    pub(super) async fn look(&mut self) -> (BTreeSet<IpAddr>, Option<io::Error>) {
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
            Ok(current) => (self.take(current, Instant::now()), None),
            Err(error) => (self.keep(Instant::now()), Some(error)),
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

/// Peers of sessions whose connection stands.
///
/// # Errors
/// Where files can be opened no more.
fn current() -> io::Result<BTreeSet<IpAddr>> {
    let mut named = BTreeSet::new();
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
        if process && let Some(environment) = readable(fs::read(entry.path().join("environ")))? {
            named.extend(connections(&environment));
        }
    }
    let noted = noted(Path::new(NOTED))?;
    if named.is_empty() && noted.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut standing = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        standing.extend(established(&readable(fs::read_to_string(table))?.unwrap_or_default()));
    }
    let by_note = standing
        .iter()
        .map(|(peer, _)| peer.ip())
        .filter(|ip| noted.contains(ip));
    let by_name = named.intersection(&standing).map(|(peer, _)| peer.ip());
    Ok(by_name.chain(by_note).collect())
}

/// Peers of the sessions that systemd-logind notes.
fn noted(directory: &Path) -> io::Result<BTreeSet<IpAddr>> {
    let files = readable(fs::read_dir(directory))?.into_iter().flatten().flatten();
    let mut peers = BTreeSet::new();
    for file in files.take(PROCESSES) {
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
        {
            peers.extend(peer_of(&text));
        }
    }
    Ok(peers)
}

/// The peer of a session that goes on, as systemd-logind writes it.
fn peer_of(note: &str) -> Option<IpAddr> {
    let value = |key: &str| note.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let goes_on =
        value("REMOTE") == Some("1") && value("CLASS").is_some_and(is_a_persons) && value("STATE") != Some("closing");
    address(value("REMOTE_HOST").filter(|_| goes_on)?)
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
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::process::{Command, Stdio};

    #[test]
    fn tables_are_read_in_the_host_s_byte_order() {
        let word = |part: &[u8]| format!("{:08X}", u32::from_ne_bytes(part.try_into().unwrap()));
        let v4 = word(&[192, 0, 2, 7]);
        let v6: String = "2001:db8::7"
            .parse::<Ipv6Addr>()
            .unwrap()
            .octets()
            .chunks(4)
            .map(word)
            .collect();
        assert_eq!(socket(&format!("{v4}:0016")), "192.0.2.7:22".parse().ok());
        assert_eq!(socket(&format!("{v6}:9C40")), "[2001:db8::7]:40000".parse().ok());
        for wrong in [
            "",
            ":",
            "0100007F",
            "0100007F:x",
            "01:0016",
            "zz00007F:0016",
            "é100007F:0016",
        ] {
            assert_eq!(socket(wrong), None, "{wrong}");
        }
        let table = format!("  sl  local rem st\n   0: {v4}:0016 {v4}:9C40 01 0\n   1: {v4}:0016 {v4}:9C41 06 0\n");
        assert_eq!(established(&table).count(), 1);
    }

    #[test]
    fn what_logind_notes_of_sessions_is_believed_while_they_go_on() {
        let note = "# This is private data. Do not parse.\nUID=1000\nUSER=ann\nACTIVE=1\nIS_DISPLAY=1\nSTATE=active\nREMOTE=1\n\
                    TYPE=tty\nCLASS=user\nREMOTE_HOST=192.0.2.7\nSERVICE=sshd\nLEADER=7\n";
        let peer = IpAddr::from([192, 0, 2, 7]);
        assert_eq!(peer_of(note), Some(peer));
        for class in ["user-early", "user-light", "user-early-light"] {
            assert_eq!(
                peer_of(&note.replace("=user\n", &format!("={class}\n"))),
                Some(peer),
                "{class}"
            );
        }
        for (from, to) in [
            ("CLASS=user", "CLASS=user-incomplete"),
            ("STATE=active", "STATE=closing"),
            ("REMOTE=1", "REMOTE=0"),
            ("CLASS=user", "CLASS=greeter"),
            ("REMOTE_HOST=192.0.2.7", "REMOTE_HOST=host.example.org"),
            ("REMOTE_HOST=192.0.2.7\n", ""),
        ] {
            assert_eq!(peer_of(&note.replace(from, to)), None, "{to}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(noted(&dir.path().join("none")).unwrap().is_empty());
        fs::write(dir.path().join("1"), note).unwrap();
        fs::write(dir.path().join("2"), [0xff; 40]).unwrap();
        assert_eq!(noted(dir.path()).unwrap(), [peer].into());
    }

    #[test]
    fn the_pipe_beside_a_note_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("1.ref");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // As logind holds it; both ends, so that its opening does not wait either.
        let _held = fs::File::options().read(true).write(true).open(&pipe).unwrap();
        fs::write(
            dir.path().join("1"),
            "STATE=active\nREMOTE=1\nCLASS=user\nREMOTE_HOST=192.0.2.7\n",
        )
        .unwrap();
        let (tell, told) = mpsc::channel();
        let folder = dir.path().to_owned();
        std::thread::spawn(move || tell.send(noted(&folder).unwrap()));
        let peers = told.recv_timeout(Duration::from_mins(1)).expect("nobody waits");
        assert_eq!(peers, [IpAddr::from([192, 0, 2, 7])].into());
    }

    #[test]
    fn a_session_counts_while_its_connection_stands() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        let own = server.local_addr().unwrap();
        let mut shell = Command::new("sleep")
            .arg("120")
            .env(
                "SSH_CONNECTION",
                format!("{} {} {} {}", peer.ip(), peer.port(), own.ip(), own.port()),
            )
            .stdin(Stdio::null())
            .spawn()
            .expect("a process");
        let named: IpAddr = peer.ip();
        let until = std::time::Instant::now() + Duration::from_mins(1);
        while !current().unwrap().contains(&named) {
            assert!(std::time::Instant::now() < until, "a session that stands is seen");
            std::thread::sleep(Duration::from_millis(20));
        }
        drop((client, server));
        while current().unwrap().contains(&named) {
            assert!(std::time::Instant::now() < until, "one that ended is not");
            std::thread::sleep(Duration::from_millis(20));
        }
        shell.kill().unwrap();
        shell.wait().unwrap();
    }

    #[test]
    fn that_nothing_can_be_opened_is_not_that_nobody_is_there() {
        let failing = |code| readable::<()>(Err(io::Error::from_raw_os_error(code)));
        for code in [libc::ENOENT, libc::EACCES, libc::ESRCH] {
            assert_eq!(failing(code).unwrap(), None, "{code}");
        }
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EIO] {
            assert!(failing(code).is_err(), "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_lost_a_connection_counts_a_while_longer_and_there_is_an_end() {
        let mut all = Sessions::begin(|| ()).unwrap();
        let ip = IpAddr::from([192, 0, 2, 7]);
        assert!(all.take([ip].into(), Instant::now()).contains(&ip));
        tokio::time::advance(GRACE / 2).await;
        assert!(all.take(BTreeSet::new(), Instant::now()).contains(&ip));
        // While nobody can look, nobody's time passes.
        for _ in 0..4 {
            tokio::time::advance(GRACE / 2).await;
            assert!(all.keep(Instant::now()).contains(&ip));
        }
        tokio::time::advance(GRACE / 2).await;
        assert!(all.take(BTreeSet::new(), Instant::now()).contains(&ip));
        tokio::time::advance(GRACE / 2).await;
        assert!(all.take(BTreeSet::new(), Instant::now()).is_empty());
        let many = (0..1_000u32).map(|n| IpAddr::from(n.to_be_bytes()));
        assert_eq!(all.take(many.collect(), Instant::now()).len(), PEERS);
    }
}
