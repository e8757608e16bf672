//! The real thing: a Redis, a Redis Cluster and Redis Sentinels, on loopback.

use super::{at, decided, signer};
use crate::config::{BusBackend, Config, FleetConfig, RedisKind, RedisPlace};
use crate::fleet::link::{Away, Link, Place, Published};
use crate::fleet::word::{Said, What};
use crate::types::{FleetWord, Secret, Timestamp};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Ended with it.
struct Server {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    // A cluster's nodes listen at 10000 more as well.
    for _ in 0..100 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 55_000 {
            return port;
        }
    }
    panic!("no port");
}

/// What a server that keeps nothing is told beside; a Redis Sentinel knows fewer settings.
const FORGETFUL: &str = "save \"\"\nappendonly no";

/// `None` where there is none here.
fn server(settings: &str) -> Option<Server> {
    start(&format!("{FORGETFUL}\n{settings}"), &[])
}

fn start(settings: &str, args: &[&str]) -> Option<Server> {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let file = folder.path().join("redis.conf");
    let dir = folder.path().display();
    std::fs::write(&file, format!("bind 127.0.0.1\nport {port}\ndir {dir}\n{settings}\n")).unwrap();
    let child = Command::new("redis-server")
        .arg(&file)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = child else {
        assert!(std::env::var_os("TESTBED_REQUIRE").is_none(), "redis-server is missing");
        eprintln!("skipped: no redis-server here; apt-get install redis-server");
        return None;
    };
    let server = Server {
        child,
        port,
        _folder: folder,
    };
    let began = Instant::now();
    loop {
        let said = cli(&server, &["PING"]);
        if said.contains("PONG") || said.contains("NOAUTH") {
            return Some(server);
        }
        assert!(began.elapsed() < Duration::from_secs(20), "Redis does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn cli(server: &Server, args: &[&str]) -> String {
    let said = Command::new("redis-cli")
        .args(["-p", &server.port.to_string()])
        .args(args)
        .output();
    said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned())
        .unwrap_or_default()
}

fn place(server: &Server, kind: RedisKind) -> RedisPlace {
    RedisPlace {
        kind,
        tls: false,
        user: None,
        password: None,
        hosts: vec![("127.0.0.1".to_owned(), server.port)],
        database: 0,
    }
}

async fn connect(place: &RedisPlace) -> Result<Link, Away> {
    Place::new(place, &FleetConfig::default())?.connect().await
}

fn word(number: u8, version: i64) -> FleetWord {
    let mut decided = decided();
    decided.target = format!("198.51.100.{number}/32").parse().unwrap();
    signer().word(&Said::new("one", version, What::Decided(decided), None), at(0))
}

/// One whose time is over.
fn over(number: u8) -> FleetWord {
    FleetWord {
        ends_at: Timestamp(1_000_000_000),
        ..word(number, 9)
    }
}

/// All that is asked of a Redis.
async fn serves(place: &RedisPlace) {
    let mut link = connect(place).await.unwrap();
    assert_eq!(link.last().await.unwrap(), "0-0");
    let now = at(10);
    let words: Vec<_> = (0..200).map(|n| word(n, 5)).collect();
    assert_eq!(link.publish(&words).await.unwrap(), vec![Published::News; 200]);
    // The same again, an older one, and a newer one.
    let again = [word(1, 5), word(2, 4), word(3, 6)];
    assert_eq!(
        link.publish(&again).await.unwrap(),
        [Published::Known, Published::Known, Published::News]
    );
    // From the future, by the clock of the Redis.
    let soon = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
    let ahead = word(202, soon + 660_000_000_000);
    assert_eq!(link.publish(&[ahead]).await.unwrap(), [Published::Ahead]);
    let mut heard = Vec::new();
    let mut after = "0-0".to_owned();
    while heard.len() < 201 {
        let news = link.news(&after).await.unwrap();
        after = news.last().unwrap().id.clone();
        heard.extend(news);
    }
    assert!(link.has(&after).await.unwrap() && !link.has("1-1").await.unwrap());
    assert_eq!(link.last().await.unwrap(), after);
    assert!(
        link.news(&after).await.unwrap().is_empty(),
        "nothing comes, and it is no error"
    );
    let read = |body: &str, mac: &str| signer().hear(body, mac, now, now).unwrap().1;
    assert_eq!(read(&heard[0].body, &heard[0].mac).subject, "d198.51.100.0/32");
    let mut known = Vec::new();
    let mut cursor = 0;
    loop {
        let (next, some) = link.words(cursor).await.unwrap();
        known.extend(some.iter().map(|entry| read(&entry.body, &entry.mac)));
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    known.sort_by(|a, b| a.subject.cmp(&b.subject));
    known.dedup_by(|a, b| a.subject == b.subject);
    assert_eq!(known.len(), 200);
    assert!(
        known
            .iter()
            .any(|word| word.version.starts_with("00000000000000000006"))
    );
    // What is over is forgotten.
    for _ in 0..8 {
        link.publish(&[over(201)]).await.unwrap();
    }
    let (_, left) = link.words(0).await.unwrap();
    assert!(
        left.iter().all(|entry| !entry.body.contains("198.51.100.201/")),
        "{left:?}"
    );
    link.alerts(&[("{}".to_owned(), "00".to_owned())]).await.unwrap();
    link.present("one", "body", "mac").await.unwrap();
    assert_eq!(
        link.node("one").await.unwrap(),
        Some(("mac".to_owned(), "body".to_owned()))
    );
    assert_eq!(
        link.nodes().await.unwrap(),
        [("one".to_owned(), "mac".to_owned(), "body".to_owned())]
    );
    link.absent("one").await.unwrap();
    assert_eq!(link.node("one").await.unwrap(), None);
}

#[tokio::test]
async fn one_server_serves() {
    let Some(server) = server("") else { return };
    serves(&place(&server, RedisKind::Single)).await;
}

#[tokio::test]
async fn a_cluster_serves() {
    let Some(server) = server("cluster-enabled yes") else {
        return;
    };
    let slots = cli(&server, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    assert!(slots.contains("OK"), "{slots}");
    let began = Instant::now();
    while !cli(&server, &["CLUSTER", "INFO"]).contains("cluster_state:ok") {
        assert!(began.elapsed() < Duration::from_secs(20), "the cluster is not ready");
        std::thread::sleep(Duration::from_millis(50));
    }
    serves(&place(&server, RedisKind::Cluster)).await;
}

#[tokio::test]
async fn what_sentinels_call_the_master_serves() {
    let Some(master) = server("") else { return };
    let settings = format!("sentinel monitor ours 127.0.0.1 {} 1", master.port);
    let Some(watch) = start(&settings, &["--sentinel"]) else {
        return;
    };
    serves(&place(&watch, RedisKind::Sentinel("ours".to_owned()))).await;
    let unknown = connect(&place(&watch, RedisKind::Sentinel("theirs".to_owned()))).await;
    let away = unknown.unwrap_err();
    assert!(!away.mend.is_empty(), "{away:?}");
}

#[tokio::test]
async fn the_user_of_the_manual_may_do_all_of_it_and_whoever_may_not_is_told_the_mend() {
    let manual = include_str!("../../../../docs/fleet.md");
    let line = manual.lines().find(|line| line.starts_with("ACL SETUSER")).unwrap();
    let rights = line.replace("ACL SETUSER", "user").replace("PASSWORD", "kX3rVqZ81");
    let settings = format!("user default off\n{rights}\nuser poor on >kX3rVqZ81 ~* +ping");
    let Some(server) = server(&settings) else { return };
    let with = |user: Option<&str>, password: &str| RedisPlace {
        user: user.map(str::to_owned),
        password: Some(Secret::new(password)),
        ..place(&server, RedisKind::Single)
    };
    serves(&with(Some("sentinel"), "kX3rVqZ81")).await;
    for (place, cause, mend) in [
        (with(Some("poor"), "kX3rVqZ81"), "does not permit", "docs/fleet.md"),
        (
            with(Some("sentinel"), "wrong"),
            "refuses the user or password",
            "REDIS_PASSWORD",
        ),
        (
            place(&server, RedisKind::Single),
            "wants a password",
            "fleet.password_file",
        ),
    ] {
        let away = connect(&place).await.unwrap_err();
        assert!(away.cause.contains(cause) && away.mend.contains(mend), "{away:?}");
        assert!(
            !format!("{away:?}").contains("kX3rVqZ81") && !away.cause.contains("wrong"),
            "{away:?}"
        );
    }
}

#[tokio::test]
async fn a_redis_that_is_not_there_or_something_else_is_told_apart() {
    let nothing = RedisPlace {
        hosts: vec![("127.0.0.1".to_owned(), 1)],
        kind: RedisKind::Single,
        tls: false,
        user: None,
        password: None,
        database: 0,
    };
    let away = connect(&nothing).await.unwrap_err();
    assert!(
        away.cause.contains("refuses connections") && away.mend.contains("`bus`"),
        "{away:?}"
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = RedisPlace {
        hosts: vec![("127.0.0.1".to_owned(), listener.local_addr().unwrap().port())],
        ..nothing
    };
    let began = Instant::now();
    let away = connect(&silent).await.unwrap_err();
    assert!(
        began.elapsed() < Duration::from_mins(1),
        "it is not waited for for ever"
    );
    assert!(away.cause.contains("does not answer in time"), "{away:?}");
    let config = Config {
        bus: BusBackend::Redis(silent),
        ..Config::default()
    };
    assert!(crate::fleet::probe(&config).await.is_err());
    assert_eq!(
        crate::fleet::probe(&Config::default()).await,
        Ok(()),
        "a node alone asks nobody"
    );
}
