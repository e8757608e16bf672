//! Who is logged in, by files as they are written and by processes that run.

use super::*;
use caps::{CapSet, Capability};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
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
    let peer_of = |note: &str| host_of(note).and_then(address);
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
    assert_eq!(noted(&dir.path().join("none")).unwrap(), None);
    assert_eq!(noted(dir.path()).unwrap(), Some(Noted::default()));
    fs::write(dir.path().join("1"), note).unwrap();
    fs::write(dir.path().join("2"), [0xff; 40]).unwrap();
    let told = |by_name| {
        Some(Noted {
            peers: [peer].into(),
            by_name,
        })
    };
    assert_eq!(noted(dir.path()).unwrap(), told(false));
    // Whose peer has no address, who left, and who is none of us cannot be missed.
    for nobody in [
        note.replace("=192.0.2.7", "=UNKNOWN"),
        note.replace("=192.0.2.7", "="),
        note.replace("=192.0.2.7", "=host.example.org")
            .replace("=active", "=closing"),
        note.replace("=192.0.2.7", "=host.example.org")
            .replace("=user\n", "=greeter\n"),
    ] {
        fs::write(dir.path().join("3"), nobody).unwrap();
        assert_eq!(noted(dir.path()).unwrap(), told(false));
    }
    fs::write(dir.path().join("3"), note.replace("=192.0.2.7", "=host.example.org")).unwrap();
    assert_eq!(noted(dir.path()).unwrap(), told(true));
}

#[test]
fn nobody_seen_is_nobody_there_only_where_somebody_would_be_seen() {
    let notes = |by_name| Noted {
        by_name,
        ..Noted::default()
    };
    for by_name in [false, true] {
        assert_eq!(blind(true, Some(&notes(by_name))), None);
    }
    assert_eq!(blind(true, None), None);
    assert_eq!(blind(false, Some(&notes(false))), None);
    assert_eq!(blind(false, Some(&notes(true))), Some(Blind::Named));
    assert_eq!(blind(false, None), Some(Blind::Wholly));
    for others_read in [false, true] {
        let found = Processes {
            others_read: Some(others_read),
            ..Processes::default()
        };
        assert_eq!(found.all_read(true, !others_read), others_read);
        assert!(!found.all_read(false, true), "there are others out of sight");
        assert_eq!(Processes::default().all_read(true, others_read), others_read);
    }
    // What lies in the file system of everything else is brought along, and nobody writes there.
    assert!(!kept(Path::new("/")) && !kept(Path::new("/none")));
    assert!(kept(Path::new("/proc")));
}

#[test]
fn others_processes_are_read_by_privilege() {
    let held = |one| caps::has_cap(None, CapSet::Effective, one).unwrap_or(false);
    let needed = [
        Capability::CAP_SYS_PTRACE,
        Capability::CAP_DAC_READ_SEARCH,
        Capability::CAP_SETUID,
    ];
    if !needed.into_iter().all(held) {
        println!("skipped: another user's process, and reading it, need root");
        return;
    }
    let mut other = Command::new("sleep")
        .arg("120")
        .uid(65_534)
        .env("SHELL", "sh")
        .stdin(Stdio::null())
        .spawn()
        .expect("a process");
    assert_eq!(processes().unwrap().others_read, Some(true));
    let without = std::thread::spawn(|| {
        caps::clear(None, CapSet::Effective).unwrap();
        processes().unwrap().others_read
    });
    assert_eq!(without.join().unwrap(), Some(false));
    other.kill().unwrap();
    other.wait().unwrap();
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
    let noted = told.recv_timeout(Duration::from_mins(1)).expect("nobody waits");
    assert_eq!(noted.unwrap().peers, [IpAddr::from([192, 0, 2, 7])].into());
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
    while !current(true).unwrap().peers.contains(&named) {
        assert!(std::time::Instant::now() < until, "a session that stands is seen");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop((client, server));
    while current(true).unwrap().peers.contains(&named) {
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
