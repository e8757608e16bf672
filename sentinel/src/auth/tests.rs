//! Tokens, sessions, links and locks over a real store.

use super::lockout::ADDRESSES;
use super::*;
use std::net::Ipv4Addr;
use tempfile::TempDir;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const IDLE: Duration = Duration::from_hours(1);

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000_000)
}

struct House {
    directory: TempDir,
    store: Store,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl House {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(&directory.path().join("s.db")).unwrap();
        Self {
            directory,
            store,
            writer: Some(std::thread::spawn(move || writer.run())),
        }
    }

    async fn auth(&self) -> Auth {
        Auth::open(self.store.clone(), Secrets::weak(), IDLE).await.unwrap()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.store.close();
        self.writer.take().unwrap().join().unwrap();
    }
}

fn wish(name: &str, role: Role) -> NewToken {
    NewToken {
        name: name.to_owned(),
        role,
        duration: None,
    }
}

#[tokio::test]
async fn a_token_opens_what_its_role_may_over_restarts_until_it_is_revoked() {
    let house = House::new();
    let auth = house.auth().await;
    assert!(auth.is_new());
    let (made, text) = auth.create(wish("grafana", Role::Viewer), "ann", at(0)).await.unwrap();
    assert!(!auth.is_new());
    let who = auth.token(&text, HERE, at(1)).await.unwrap();
    assert_eq!((who.actor.as_str(), who.role), ("grafana", Role::Viewer));
    // Once known, it costs no hash.
    assert_eq!(auth.token(&text, HERE, at(2)).await.unwrap(), who);

    let again = house.auth().await;
    assert!(!again.is_new());
    assert_eq!(again.token(&text, HERE, at(3)).await.unwrap(), who);
    let told = again.tokens();
    assert_eq!(told[0].used_at, Some(at(3)));
    assert_eq!(told[0].created_by, "ann");

    let (session, _) = again.log_in(Login::Token(text.clone()), HERE, at(4)).await.unwrap();
    assert!(again.session(&session, at(5)).await.is_some());
    again.revoke("grafana", at(6)).await.unwrap();
    assert_eq!(again.token(&text, HERE, at(7)).await, Err(AuthError::Wrong));
    assert_eq!(again.session(&session, at(7)).await, None);
    assert!(!again.still(&who, at(7)));
    assert_eq!(
        again.revoke("grafana", at(8)).await.unwrap_err(),
        AuthError::NoSuchToken
    );
    let third = house.auth().await;
    assert_eq!(third.token(&text, HERE, at(9)).await, Err(AuthError::Wrong));
    assert_eq!(third.session(&session, at(9)).await, None);
    assert_eq!(third.tokens()[0].id, made.id, "what was is still told");
}

#[tokio::test]
async fn nothing_that_opens_anything_is_in_the_files() {
    let house = House::new();
    let auth = house.auth().await;
    let (_, text) = auth.create(wish("ann", Role::Admin), "root", at(0)).await.unwrap();
    let (session, _) = auth.log_in(Login::Token(text.clone()), HERE, at(1)).await.unwrap();
    let code = auth.link(at(1)).unwrap();
    let half = secret::halves(&text).unwrap().1.to_owned();
    house.store.verify_audit().await.unwrap();
    let mut kept = Vec::new();
    for file in std::fs::read_dir(house.directory.path()).unwrap() {
        kept.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let has = |needle: &str| kept.windows(needle.len()).any(|window| window == needle.as_bytes());
    assert!(has("$argon2id$"), "the files are those");
    for secret in [&half, &session, &code] {
        assert!(!has(secret));
    }
    let told = format!("{:?} {:?}", auth.tokens(), auth);
    assert!(!told.contains("argon2id$v"), "{told}");
    assert!(!told.contains(&half));
}

#[tokio::test]
async fn what_is_near_a_token_is_none() {
    let house = House::new();
    let auth = house.auth().await;
    let wish = NewToken {
        duration: Some(Duration::from_secs(100)),
        ..wish("ann", Role::Admin)
    };
    let (_, text) = auth.create(wish, "root", at(0)).await.unwrap();
    let other = if text.ends_with('0') { "1" } else { "0" };
    let changed = format!("{}{other}", &text[..text.len() - 1]);
    let wrong = [
        String::new(),
        "sntl_".to_owned(),
        text[1..].to_owned(),
        format!("{text}0"),
        changed,
        text.replace("sntl_", "SNTL_"),
    ];
    for (n, token) in wrong.iter().enumerate() {
        // From elsewhere each time, so that no lock stands between.
        let from = IpAddr::from([192, 0, 2, n as u8]);
        assert_eq!(auth.token(token, from, at(1)).await, Err(AuthError::Wrong), "{token}");
    }
    assert!(auth.token(&text, HERE, at(99)).await.is_ok());
    assert_eq!(
        auth.token(&text, HERE, at(100)).await,
        Err(AuthError::Wrong),
        "its time is over"
    );
}

#[tokio::test]
async fn whoever_guesses_waits_longer_each_time_and_others_do_not() {
    let house = House::new();
    let auth = house.auth().await;
    let (_, text) = auth.create(wish("ann", Role::Admin), "root", at(0)).await.unwrap();
    let (session, _) = auth.log_in(Login::Token(text.clone()), HERE, at(0)).await.unwrap();
    let guess = || Login::Token("sntl_0123456789abcdef_".to_owned() + &"0".repeat(64));
    let from: IpAddr = "2001:db8::1".parse().unwrap();
    let beside: IpAddr = "2001:db8::ffff".parse().unwrap();
    let mut now = 0;
    let mut waits = Vec::new();
    while waits.len() < 8 {
        match auth.log_in(guess(), from, at(now)).await.unwrap_err() {
            AuthError::Wrong => {}
            AuthError::Locked { wait } => {
                waits.push(wait.as_secs());
                // A whole network of one host waits with it, and a good token changes nothing.
                let good = auth
                    .log_in(Login::Token("other".to_owned() + &text), beside, at(now))
                    .await;
                assert_eq!(good.unwrap_err(), AuthError::Locked { wait });
                now += wait.as_secs() as i64;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(waits, [30, 60, 120, 240, 480, 900, 900, 900]);
    // Neither a session nor a token known already waits for that, nor anybody elsewhere.
    assert!(auth.session(&session, at(100)).await.is_some());
    assert!(auth.token(&text, from, at(now)).await.is_ok());
    assert!(
        auth.log_in(Login::Token(text), "192.0.2.9".parse().unwrap(), at(now))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn whoever_polls_with_a_key_that_is_over_or_wrong_keeps_nobody_from_logging_in() {
    let house = House::new();
    let auth = house.auth().await;
    let (_, good) = auth.create(wish("good", Role::Bouncer), "root", at(0)).await.unwrap();
    let (_, over) = auth.create(wish("over", Role::Bouncer), "root", at(0)).await.unwrap();
    let (_, ann) = auth.create(wish("ann", Role::Admin), "root", at(0)).await.unwrap();
    auth.revoke("over", at(1)).await.unwrap();
    for second in 2..40 {
        let refused = auth.bouncer(&over, HERE, at(second)).await.unwrap_err();
        assert_eq!(refused, AuthError::Wrong, "it guesses nothing");
    }
    // Another one beside it is let in for the first time.
    assert!(auth.bouncer(&good, HERE, at(40)).await.is_ok());
    for _ in 0..40 {
        assert!(auth.bouncer("nonsense", HERE, at(41)).await.is_err());
    }
    assert!(matches!(
        auth.bouncer("nonsense", HERE, at(42)).await,
        Err(AuthError::Locked { .. })
    ));
    assert!(auth.log_in(Login::Token(ann), HERE, at(43)).await.is_ok());
    assert!(auth.bouncer(&good, HERE, at(44)).await.is_ok(), "known already");
    auth.revoke("good", at(45)).await.unwrap();
    assert_eq!(auth.bouncer(&good, HERE, at(46)).await.unwrap_err(), AuthError::Wrong);
}

#[tokio::test]
async fn the_memory_of_failures_is_bounded() {
    let house = House::new();
    let auth = house.auth().await;
    for n in 0..ADDRESSES as u32 + 200 {
        let from = Ipv4Addr::from_bits(0x0A00_0000 + n).into();
        assert_eq!(auth.token("wrong", from, at(i64::from(n))).await, Err(AuthError::Wrong));
    }
    assert_eq!(auth.books().lockout(Of::People).addresses(), ADDRESSES);
}

#[tokio::test]
async fn a_link_opens_once_and_not_for_long() {
    let house = House::new();
    let auth = house.auth().await;
    let code = auth.link(at(0)).unwrap();
    let (session, who) = auth.log_in(Login::Link(code.clone()), HERE, at(10)).await.unwrap();
    assert_eq!(who.role, Role::Admin);
    assert_eq!(auth.session(&session, at(11)).await.as_ref(), Some(&who));
    let again = auth.log_in(Login::Link(code), HERE, at(12)).await;
    assert_eq!(again.unwrap_err(), AuthError::Wrong);
    let late = auth.link(at(12)).unwrap();
    let late = auth.log_in(Login::Link(late), HERE, at(12).after(LINK)).await;
    assert_eq!(late.unwrap_err(), AuthError::Wrong);
    let many: Vec<String> = (0..20).map(|_| auth.link(at(2000)).unwrap()).collect();
    assert_eq!(
        auth.log_in(Login::Link(many[0].clone()), HERE, at(2001))
            .await
            .unwrap_err(),
        AuthError::Wrong,
        "of very many the oldest are over"
    );
    assert!(auth.log_in(Login::Link(many[19].clone()), HERE, at(2002)).await.is_ok());
    assert!(!auth.is_new());
}

#[tokio::test]
async fn a_session_ends_unused_after_a_month_or_when_somebody_leaves() {
    let house = House::new();
    let auth = house.auth().await;
    let begin = async |now: i64| {
        let code = auth.link(at(now)).unwrap();
        auth.log_in(Login::Link(code), HERE, at(now)).await.unwrap().0
    };
    let unused = begin(0).await;
    assert!(auth.session(&unused, at(3599)).await.is_some());
    assert!(auth.session(&unused, at(3599 + 3600)).await.is_none());

    let kept = begin(0).await;
    let month = LONGEST.as_secs() as i64;
    let mut now = 0;
    while now + 3000 < month {
        now += 3000;
        assert!(auth.session(&kept, at(now)).await.is_some(), "at {now}");
    }
    assert!(auth.session(&kept, at(month)).await.is_none());

    let left = begin(0).await;
    let digest = auth.session(&left, at(1)).await.unwrap().session.unwrap();
    auth.log_out(&digest).await.unwrap();
    assert!(auth.session(&left, at(2)).await.is_none());
    assert!(house.auth().await.session(&left, at(2)).await.is_none());
}

#[tokio::test]
async fn bounds_are_told_and_the_longest_unused_session_gives_way() {
    let house = House::new();
    let auth = house.auth().await;
    let mut first = None;
    for n in 0..=SESSIONS as i64 {
        let code = auth.link(at(n)).unwrap();
        let (session, _) = auth.log_in(Login::Link(code), HERE, at(n)).await.unwrap();
        first.get_or_insert(session);
    }
    assert!(auth.session(&first.unwrap(), at(300)).await.is_none());
    for n in 0..TOKENS {
        auth.create(wish(&format!("t{n}"), Role::Viewer), "root", at(0))
            .await
            .unwrap();
    }
    let error = auth
        .create(wish("more", Role::Viewer), "root", at(0))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("revoke"), "{error}");
    auth.revoke("t7", at(1)).await.unwrap();
    for bad in ["", "two words", "ümlaut", "a/b", &"x".repeat(65), "t8"] {
        let error = auth.create(wish(bad, Role::Viewer), "root", at(2)).await.unwrap_err();
        assert!(matches!(error, AuthError::Invalid(_)), "{bad}: {error}");
    }
    auth.create(wish("more", Role::Viewer), "root", at(2)).await.unwrap();
}

#[test]
fn the_hash_is_argon2id_as_recommended() {
    let secrets = Secrets::new().unwrap();
    let hash = secrets.hash("secret").unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    assert!(secrets.verify("secret", &hash));
    assert!(!secrets.verify("Secret", &hash));
    assert!(!secrets.verify("secret", "nonsense"));
}
