//! What real programs wrote, and what none did.

use super::*;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const FAIL2BAN: &str = include_str!("../../../tests/fixtures/migrate/fail2ban-1.0.2.sql");
const CROWDSEC: &str = include_str!("../../../tests/fixtures/migrate/crowdsec-1.4.6.sql");
const LISTED: &str = include_str!("../../../tests/fixtures/migrate/crowdsec-1.4.6.json");

/// A minute after the bans of the fixture were set.
const F2B_NOW: Timestamp = Timestamp(1_795_948_231_000_000_000);

fn wish(of_lists: bool) -> crowdsec::Wish {
    crowdsec::Wish {
        now: "2026-11-29T10:15:00Z".parse().unwrap(),
        of_lists,
    }
}

/// A database made of a script, in a folder of its own.
fn database(script: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("their.db");
    Connection::open(&path).unwrap().execute_batch(script).unwrap();
    (folder, path)
}

/// Names, sizes, dates and bytes of everything in a folder.
fn everything(folder: &Path) -> Vec<(PathBuf, std::time::SystemTime, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = entries
        .map(|path| {
            let about = path.metadata().unwrap();
            let bytes = std::fs::read(&path).unwrap();
            (path, about.modified().unwrap(), bytes)
        })
        .collect();
    all.sort();
    all
}

fn bans(found: &Found) -> Vec<(String, Option<String>)> {
    let all = found.bans.values();
    all.map(|ban| (ban.target.to_string(), ban.until.map(|end| end.to_string())))
        .collect()
}

#[test]
fn bans_of_a_fail2ban_that_hold_are_found_with_what_is_left_of_them() {
    let (folder, path) = database(FAIL2BAN);
    let more = "INSERT INTO bips VALUES ('203.0.113.1', 'sshd', 1795940000, 600, 1, NULL);
                INSERT INTO bips VALUES ('203.0.113.5', 'forever', 1795948171, 7200, 1, NULL);
                INSERT INTO bips VALUES ('somebody', 'sshd', 1795948171, -1, 1, NULL);";
    Connection::open(&path).unwrap().execute_batch(more).unwrap();
    let before = everything(folder.path());
    let found = fail2ban::bans(&path, F2B_NOW).unwrap();
    let end = |text: &str| Some(text.to_owned());
    assert_eq!(
        bans(&found),
        [
            ("203.0.113.0/28".to_owned(), end("2026-11-29T11:29:31.000000Z")),
            ("203.0.113.5/32".to_owned(), end("2026-11-29T12:29:31.000000Z")),
            ("203.0.113.77/32".to_owned(), None),
            ("2001:db8::5/128".to_owned(), end("2026-11-29T11:29:31.000000Z")),
        ]
    );
    let of = |net: &str| found.bans[&net.parse().unwrap()].reason.clone();
    assert_eq!(
        of("203.0.113.5/32"),
        "fail2ban forever",
        "of the jail whose ban lasts longest"
    );
    assert_eq!((found.over, found.left_out.len()), (1, 1));
    assert_eq!(found.left_out[0].what, "somebody");
    assert_eq!(everything(folder.path()), before, "their files are as they were");
}

#[test]
fn what_a_running_writer_has_not_worked_in_is_read_and_left_alone() {
    let (folder, path) = database("PRAGMA journal_mode = wal;");
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch(CROWDSEC).unwrap();
    let before = everything(folder.path());
    assert!(
        before
            .iter()
            .any(|(path, _, bytes)| path.ends_with("their.db-wal") && bytes.len() > 4_096)
    );
    let found = crowdsec::database(&path, wish(false)).unwrap();
    assert_eq!(found.bans.len(), 2);
    assert_eq!(everything(folder.path()), before);
    // A transaction under way holds nobody up and is not seen.
    writer.execute_batch("BEGIN; DELETE FROM decisions;").unwrap();
    assert_eq!(crowdsec::database(&path, wish(false)).unwrap().bans.len(), 2);
}

#[test]
fn decisions_of_a_crowdsec_are_found_in_its_database_and_in_its_list() {
    let (_folder, path) = database(CROWDSEC);
    let found = crowdsec::database(&path, wish(false)).unwrap();
    let end = |text: &str| Some(text.to_owned());
    let expected = [
        ("198.51.100.0/24".to_owned(), end("2026-11-29T14:14:13.000000Z")),
        ("203.0.113.99/32".to_owned(), end("2026-11-29T14:14:13.000000Z")),
    ];
    assert_eq!(bans(&found), expected);
    let left: Vec<_> = found.left_out.iter().map(|left| left.what.as_str()).collect();
    assert_eq!(left, ["ban of Country FR", "captcha of Ip 203.0.113.98"]);
    assert_eq!(found.bans.values().last().unwrap().reason, "crowdsec why not");

    let list = path.with_file_name("list.json");
    std::fs::write(&list, LISTED).unwrap();
    let now = crate::time::wall_now();
    let listed = crowdsec::listed(&list, crowdsec::Wish { now, of_lists: false }).unwrap();
    assert_eq!(
        listed.bans.keys().collect::<Vec<_>>(),
        found.bans.keys().collect::<Vec<_>>()
    );
    let left = listed.bans.values().next().unwrap().until.unwrap().0 - now.0;
    assert!((14_300..14_400).contains(&(left / 1_000_000_000)), "{left}");
    std::fs::write(&list, "null\n").unwrap();
    assert_eq!(crowdsec::listed(&list, wish(false)).unwrap(), Found::default());
}

#[test]
fn lists_of_others_are_taken_where_they_are_asked_for_and_allowlists_with_them() {
    let (_folder, path) = database(CROWDSEC);
    let more = "UPDATE decisions SET origin = 'CAPI' WHERE id = 1;
                UPDATE decisions SET type = 'throttle' WHERE id = 2;
                UPDATE decisions SET simulated = 1, scope = 'Ip', value = '203.0.113.97' WHERE id = 3;
                UPDATE decisions SET until = 'soon', type = 'ban' WHERE id = 4;
                CREATE TABLE allow_list_items (id integer PRIMARY KEY, created_at datetime, updated_at datetime,
                    expires_at datetime, comment text, value text NOT NULL);
                INSERT INTO allow_list_items (expires_at, value) VALUES (NULL, '192.0.2.0/24'), (NULL, '2001:db8::1'),
                    ('2026-11-29 09:00:00+00:00', '192.0.3.1'), ('2027-01-01 00:00:00+00:00', '192.0.3.2');";
    Connection::open(&path).unwrap().execute_batch(more).unwrap();
    let found = crowdsec::database(&path, wish(false)).unwrap();
    assert_eq!((found.of_lists, found.over, found.bans.len()), (1, 1, 1));
    assert_eq!(found.bans.values().next().unwrap().action, ActionKind::RateLimit);
    assert_eq!(found.spared.len(), 2);
    let why: Vec<_> = found.left_out.iter().map(|left| left.why.as_str()).collect();
    assert!(
        why[0].contains("simulated") && why[1].contains("when it ends") && why[2].contains("ends by itself"),
        "{why:?}"
    );
    assert_eq!(crowdsec::database(&path, wish(true)).unwrap().bans.len(), 2);
}

#[test]
fn whom_their_settings_spare_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("jail.conf", "[DEFAULT]\nignoreip = 127.0.0.1/8 ::1\n");
    write(
        "jail.d/a.local",
        "[sshd]\nignoreip = %(known/ignoreip)s 198.51.100.7,gate.example.org\n",
    );
    write(
        "jail.local",
        "[DEFAULT]\nignorecommand = /bin/ask <ip>\nignoreip = 127.0.0.1/8 192.0.2.9/24\n\t2001:db8::/32\n",
    );
    let found = fail2ban::spared(folder.path()).unwrap();
    let nets: Vec<String> = found.spared.keys().map(ToString::to_string).collect();
    assert_eq!(nets, ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32"]);
    let left: Vec<_> = found.left_out.iter().map(|left| left.what.as_str()).collect();
    assert_eq!(left, ["gate.example.org", "/bin/ask <ip>"]);

    // As Debian's package has it, one with an expression, and one that is broken.
    let hub = "name: x/whitelists\nwhitelist:\n  reason: \"private\"\n  ip:\n    - \"127.0.0.1\"\n    - 192.0.2.7\n  cidr:\n    - \"10.0.0.0/8\"\n  expression:\n    - \"'foo.com' in evt.Meta.source_ip.reverse\"\n";
    write("parsers/s02-enrich/whitelists.yaml", hub);
    write(
        "parsers/s02-enrich/two.yaml",
        "name: a\n---\nwhitelist: { ip: [2001:db8::7, nobody] }\n",
    );
    write("parsers/s02-enrich/broken.yaml", "whitelist: [\n");
    write(
        "postoverflows/s01-whitelist/more.yml",
        "whitelist: { cidr: [198.51.100.0/24] }\n",
    );
    let found = crowdsec::spared(folder.path()).unwrap();
    let nets: Vec<String> = found.spared.keys().map(ToString::to_string).collect();
    assert_eq!(
        nets,
        ["10.0.0.0/8", "192.0.2.7/32", "198.51.100.0/24", "2001:db8::7/128"]
    );
    let why: Vec<_> = found.left_out.iter().map(|left| left.why.as_str()).collect();
    assert_eq!(why.len(), 3, "{why:?}");
    assert!(
        why[0].contains("cannot be read") && why[1].contains("neither an address") && why[2].contains("an expression")
    );
}

#[test]
fn what_is_left_out_is_told_up_to_a_bound_and_then_counted() {
    let mut found = Found::default();
    for number in 0..LEFT_OUT_MAX + 7 {
        found.leave(format!("thing {number}"), "because");
        found.leave("thing 0", "twice");
    }
    assert_eq!((found.left_out.len(), found.left_out_more), (LEFT_OUT_MAX, 7));
}

#[test]
fn a_source_that_is_not_what_it_is_said_to_be_is_refused_with_the_mend() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let said = |result: Result<Found, MigrateError>| result.unwrap_err().to_string();
    let nowhere = folder.path().join("none");
    let text = file("text", b"hello, this is no database at all\n");
    let magic = file("half.db", b"SQLite format 3\0 and then nothing");
    let (_other, other) = database("CREATE TABLE unrelated (x);");
    let (_old, old) = database("CREATE TABLE bans (jail TEXT, ip TEXT, timeofban INTEGER, data JSON);");
    for (path, words) in [
        (nowhere.as_path(), "--database"),
        (folder.path(), "it is no file"),
        (&text, "it is no SQLite database"),
        (&magic, "the database is damaged"),
        (&other, "no table of fail2ban's bans"),
        (&old, "before 0.11"),
    ] {
        let text = said(fail2ban::bans(path, F2B_NOW));
        assert!(text.contains(words) && text.contains("--database"), "{words}: {text}");
    }
    for path in [&other, &text] {
        let text = said(crowdsec::database(path, wish(false)));
        assert!(text.contains("cscli decisions list -o json"), "{text}");
    }
    for (bytes, words) in [
        (b"not json".as_slice(), "it is no JSON (line 1"),
        (b"{\"a\": 1}", "no list of decisions"),
        (b"[{\"a\": 1}]", "item 1 is no decision"),
        (b"[{\"decisions\": [{\"scope\": 1}]}]", "item 1 is no decision"),
    ] {
        let text = said(crowdsec::listed(&file("list.json", bytes), wish(false)));
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(said(fail2ban::spared(folder.path())).contains("neither a `jail.conf` nor"));
    assert!(said(crowdsec::spared(&nowhere)).contains("--config-dir"));
}

#[test]
fn a_view_without_an_end_and_a_pipe_beside_it_are_not_waited_for() {
    let endless = "CREATE VIEW bips AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                   SELECT '192.0.2.1' AS ip, 'sshd' AS jail, i AS timeofban, i AS bantime FROM n;
                   CREATE VIEW decisions AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                   SELECT i AS id, '' AS until, '' AS type, '' AS scope, '' AS value, '' AS origin, '' AS scenario,
                   0 AS simulated FROM n;";
    let (_view, view) = database(endless);
    let (_pipe, pipe) = database(FAIL2BAN);
    nix::unistd::mkfifo(&pipe.with_file_name("their.db-wal"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let said = [
            fail2ban::bans(&view, F2B_NOW),
            crowdsec::database(&view, wish(false)),
            fail2ban::bans(&pipe, F2B_NOW),
        ];
        tell.send(said.map(|result| result.unwrap_err().to_string())).unwrap();
    });
    let said = told.recv_timeout(Duration::from_secs(20)).expect("nobody waits");
    for (said, words) in said.iter().zip(["no table", "no table", "their.db-wal: it is no file"]) {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn a_database_that_is_written_to_all_the_time_is_not_waited_for_for_ever() {
    let (_folder, path) = database(FAIL2BAN);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (ended, of) = (std::sync::Arc::clone(&stop), path.clone());
    let writer = std::thread::spawn(move || {
        let mut size = 0_u64;
        while !ended.load(std::sync::atomic::Ordering::Relaxed) {
            // Something beside it that changes with every look.
            size += 1;
            std::fs::write(of.with_file_name("their.db-wal"), vec![0; size as usize % 4_096]).unwrap();
            std::thread::sleep(Duration::from_micros(50));
        }
    });
    let began = std::time::Instant::now();
    let result = fail2ban::bans(&path, F2B_NOW);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    if let Err(error) = result {
        assert!(error.to_string().contains("try again"), "{error}");
    }
    assert!(began.elapsed() < Duration::from_secs(20));
}
