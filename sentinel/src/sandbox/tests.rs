use super::*;
use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};

fn set<const N: usize>(paths: [&str; N]) -> BTreeSet<PathBuf> {
    paths.into_iter().map(PathBuf::from).collect()
}

#[test]
fn what_is_covered_is_what_lies_below_and_no_port_more() {
    let had = Reach {
        read: set(["/etc/sentinel/settings.yml"]),
        write: set(["/var/lib/sentinel"]),
        connect: Some([443, 25].into()),
        ..Reach::default()
    };
    let covers = |change: &dyn Fn(&mut Reach)| {
        let mut wanted = had.clone();
        change(&mut wanted);
        had.covers(&wanted)
    };
    assert!(covers(&|_| {}));
    assert!(covers(&|reach| reach.write = set(["/var/lib/sentinel/feeds"])));
    assert!(covers(&|reach| reach.read = set(["/var/lib/sentinel/key"])));
    assert!(covers(&|reach| reach.connect = Some([25].into())));
    assert!(!covers(&|reach| reach.write = set(["/var/lib/sentinels"])));
    assert!(!covers(&|reach| reach.write = set(["/etc/sentinel/settings.yml"])));
    assert!(!covers(&|reach| reach.read = set(["/etc/sentinel"])));
    assert!(!covers(&|reach| reach.connect = Some([80].into())));
    assert!(!covers(&|reach| reach.connect = None));
    assert!(!covers(&|reach| reach.run = Some("/usr/sbin/nft".into())));
    let moved = Reach {
        read: set(["/nowhere", "/etc/sentinel/settings.yml"]),
        ..had.clone()
    };
    assert!(!had.covers(&moved));
    assert!(
        had.covers(&moved.clone().beyond(&moved)),
        "what it had before is not asked about"
    );
}

/// On a thread of its own, since nothing is ever given back.
fn confined<T: Send + 'static>(reach: Reach, run: impl FnOnce() -> T + Send + 'static) -> (Sandbox, T) {
    let sandbox = Sandbox::new(reach, Keeps::default()).expect("filters");
    let inner = sandbox.clone();
    let outcome = std::thread::spawn(move || {
        inner.confine();
        run()
    });
    let outcome = outcome.join().expect("it lives");
    (sandbox, outcome)
}

#[test]
fn a_confined_thread_writes_where_it_may_and_nowhere_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ours, others) = (dir.path().join("ours"), dir.path().join("others"));
    for folder in [&ours, &others] {
        fs::create_dir(folder).expect("made");
        fs::write(folder.join("old"), "old").expect("written");
    }
    let reach = Reach {
        write: [ours.clone()].into(),
        ..Reach::default()
    };
    let (sandbox, ()) = confined(reach, move || {
        fs::write(ours.join("new"), "new").expect("written");
        fs::rename(ours.join("new"), ours.join("newer")).expect("renamed");
        fs::remove_file(ours.join("newer")).expect("removed");
        let refused = [
            fs::write(others.join("new"), "new").err(),
            fs::read(others.join("old")).err(),
            fs::remove_file(others.join("old")).err(),
            fs::rename(ours.join("old"), others.join("new")).err(),
        ];
        for error in refused {
            let kind = error.map(|error| error.kind());
            let other_file_system = Some(ErrorKind::CrossesDevices);
            assert!(
                kind == Some(ErrorKind::PermissionDenied) || kind == other_file_system,
                "{kind:?}"
            );
        }
        fs::read("/etc/hosts").expect("everybody's");
    });
    assert!(sandbox.told().is_ok(), "{:?}", sandbox.told());
}

#[test]
fn a_confined_thread_connects_where_it_may_and_runs_nothing() {
    let wanted = TcpListener::bind("127.0.0.1:0").expect("a port");
    let foreign = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = |listener: &TcpListener| listener.local_addr().expect("bound");
    let (to, away) = (at(&wanted), at(&foreign));
    let reach = Reach {
        connect: Some([to.port()].into()),
        ..Reach::default()
    };
    confined(reach, move || {
        TcpStream::connect(to).expect("the port that is named");
        let refused = TcpStream::connect(away).expect_err("another port");
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        let refused = std::process::Command::new("/bin/true")
            .status()
            .expect_err("no program");
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        // Threads are begun as ever, and inherit it.
        assert!(calls::in_force());
        let inherited = std::thread::spawn(move || TcpStream::connect(away).map(drop));
        assert!(inherited.join().expect("it lives").is_err());
    });
}

#[test]
fn a_reader_reads_and_can_do_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("file");
    fs::write(&file, "text").expect("written");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = listener.local_addr().expect("bound");
    let sandbox = Sandbox::new(Reach::default(), Keeps::default()).expect("filters");
    let inner = sandbox.clone();
    let reader = std::thread::spawn(move || {
        inner.confine_reader();
        let read = fs::read(&file).map(|bytes| bytes.len()).ok();
        let listed = fs::read_dir("/proc").is_ok_and(|mut entries| entries.next().is_some());
        let written = fs::write(&file, "other").is_ok() || fs::write(file.with_extension("new"), "x").is_ok();
        let connected = TcpStream::connect(to).is_ok();
        (read, listed, written, connected)
    });
    assert_eq!(reader.join().expect("it lives"), (Some(4), true, false, false));
}

#[test]
fn none_takes_nothing() {
    let sandbox = Sandbox::none();
    sandbox.confine();
    assert!(!calls::in_force());
    assert_eq!(sandbox.told().as_deref(), Ok("off (`sandbox.enabled: false`)"));
    assert!(std::process::Command::new("/bin/true").status().is_ok());
}
