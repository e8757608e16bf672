use super::super::testing::{Bench, Memory, START, Server, Setup, answer, list, settings};
use super::*;
use std::sync::atomic::Ordering;

fn names(bench: &Bench) -> Vec<(String, u64)> {
    let all = bench.feeds.status();
    all.iter().map(|one| (one.name.clone(), one.entries)).collect()
}

#[tokio::test]
async fn a_feed_that_stays_is_not_touched_and_one_that_goes_is_out_of_the_kernel() {
    let server = Server::start(|_| answer(200, "", list(50).as_bytes())).await;
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str, entries: u32| {
        let path = dir.path().join(name);
        std::fs::write(&path, list(entries)).unwrap();
        path.display().to_string()
    };
    let (first, second, third) = (place("1", 3), place("2", 5), place("3", 7));
    let kept = dir.path().join("feeds");
    let kernel = Arc::new(Memory::default());
    let with =
        |enabled: &'static [&'static str], block: &'static [&'static str], custom: Vec<(&'static str, String)>| Setup {
            enabled,
            block,
            custom,
            ..Setup::default()
        };
    let setup = Setup {
        kernel: Some(kernel.clone()),
        ..with(
            &["cins"],
            &["cins", "first", "second"],
            vec![("first", first.clone()), ("second", second)],
        )
    };
    let mut bench = Bench::new(&kept, &server.url(), setup, START).await;
    bench.room.tend().await;
    assert_eq!(
        names(&bench),
        [("cins".into(), 50), ("first".into(), 3), ("second".into(), 5)]
    );
    let (asked, puts) = (server.count(), kernel.puts.load(Ordering::Relaxed));
    let numbers = || kernel.lists.lock().unwrap().keys().copied().collect::<Vec<_>>();
    let all = numbers();
    assert_eq!(all.len(), 3);

    // Another list takes the place of the second, and is not to be dropped by.
    let other = with(
        &["cins"],
        &["cins", "first"],
        vec![("first", first.clone()), ("third", third)],
    );
    bench.room.renew(&settings(&kept, &other)).await.unwrap();
    assert_eq!(
        numbers(),
        all[..2],
        "the second is out of the kernel before anybody is asked"
    );
    assert_eq!(
        names(&bench),
        [("cins".into(), 50), ("first".into(), 3), ("third".into(), 0)]
    );
    bench.room.tend().await;
    assert_eq!(names(&bench)[2], ("third".into(), 7));
    assert_eq!(
        (server.count(), kernel.puts.load(Ordering::Relaxed)),
        (asked, puts),
        "those that stay are neither fetched nor written again"
    );

    // One is dropped by no more and stays a list; another begins to be.
    let other = with(&["cins"], &["first"], vec![("first", first.clone())]);
    bench.room.renew(&settings(&kept, &other)).await.unwrap();
    assert_eq!((numbers(), names(&bench).len()), (all[1..2].to_vec(), 2));
    let other = with(&["cins"], &["cins"], vec![("first", first)]);
    bench.room.renew(&settings(&kept, &other)).await.unwrap();
    assert_eq!(numbers(), all[..1]);
    assert_eq!(server.count(), asked, "what is in memory is enough");

    // What cannot be is refused whole.
    let mut wrong = settings(&kept, &Setup::default());
    wrong.feeds.enabled = vec!["nonsense".to_owned()];
    assert!(bench.room.renew(&wrong).await.is_err());
    assert_eq!((numbers(), names(&bench).len()), (all[..1].to_vec(), 2));
}

#[tokio::test]
async fn an_answer_on_its_way_finds_its_feed_wherever_it_has_moved() {
    let server = Server::start(|_| answer(200, "", list(50).as_bytes())).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine");
    std::fs::write(&path, list(4)).unwrap();
    let custom = || vec![("mine", path.display().to_string())];
    let both = Setup {
        enabled: &["cins"],
        custom: custom(),
        ..Setup::default()
    };
    let kept = dir.path().join("feeds");
    let mut bench = Bench::new(&kept, &server.url(), both, START).await;
    let mut asked = super::super::room::Asked::new();
    bench.room.look(&mut asked).await;
    assert_eq!(asked.len(), 2);
    let one = Setup {
        custom: custom(),
        ..Setup::default()
    };
    bench.room.renew(&settings(&kept, &one)).await.unwrap();
    while let Some((ticket, outcome)) = futures_util::StreamExt::next(&mut asked).await {
        bench.room.settle(ticket, outcome).await;
    }
    assert_eq!(names(&bench), [("mine".into(), 4)]);
    assert_eq!(
        bench.feeds.set().len(),
        4,
        "the list nobody wants any more is in nothing"
    );
}

#[tokio::test]
async fn a_kept_list_that_cannot_be_read_stays_in_the_kernel_and_is_asked_for_at_once() {
    let unreadable: [fn(&std::path::Path); 2] = [
        |path| std::os::unix::fs::symlink(path, path).unwrap(),
        |path| std::fs::create_dir(path).unwrap(),
    ];
    for lay in unreadable {
        let server = Server::start(|_| answer(200, "", list(50).as_bytes())).await;
        let dir = tempfile::tempdir().unwrap();
        let kernel = Arc::new(Memory::default());
        let setup = || Setup {
            enabled: &["cins"],
            block: &["cins"],
            kernel: Some(kernel.clone()),
            ..Setup::default()
        };
        Bench::new(dir.path(), &server.url(), setup(), START)
            .await
            .room
            .tend()
            .await;
        assert_eq!((kernel.lists.lock().unwrap().len(), server.count()), (1, 1));
        let path = dir.path().join("cins.list");
        std::fs::remove_file(&path).unwrap();
        lay(&path);
        let later = START.after(std::time::Duration::from_mins(1));
        let mut bench = Bench::new(dir.path(), &server.url(), setup(), later).await;
        assert_eq!(kernel.lists.lock().unwrap().len(), 1, "it is not swept out");
        assert!(bench.status().last_error.unwrap().contains("cins.list"));
        bench.room.tend().await;
        assert_eq!((bench.status().entries, server.count()), (50, 2));
        // One that is not there is nobody's any more.
        std::fs::remove_dir(&path)
            .or_else(|_| std::fs::remove_file(&path))
            .unwrap();
        Bench::new(dir.path(), &server.url(), setup(), later).await;
        assert!(kernel.lists.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn own_feeds_behind_one_that_goes_or_comes_keep_their_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &'static str, entries: u32| {
        let path = dir.path().join(name);
        std::fs::write(&path, list(entries)).unwrap();
        (name, path.display().to_string())
    };
    let (first, second, third) = (place("first", 3), place("second", 5), place("third", 7));
    let kept = dir.path().join("feeds");
    let kernel = Arc::new(Memory::default());
    let with = |custom: Vec<(&'static str, String)>| Setup {
        block: &["second"],
        custom,
        kernel: Some(kernel.clone()),
        ..Setup::default()
    };
    let mut bench = Bench::new(&kept, "", with(vec![first, second.clone()]), START).await;
    bench.room.tend().await;
    let puts = kernel.puts.load(Ordering::Relaxed);
    let numbers = || kernel.lists.lock().unwrap().keys().copied().collect::<Vec<_>>();
    let number = numbers();
    assert_eq!((puts, number.len()), (1, 1));
    bench
        .room
        .renew(&settings(&kept, &with(vec![second.clone()])))
        .await
        .unwrap();
    assert_eq!(names(&bench), [("second".into(), 5)], "it is there all the while");
    bench
        .room
        .renew(&settings(&kept, &with(vec![third, second])))
        .await
        .unwrap();
    bench.room.tend().await;
    assert_eq!(names(&bench), [("third".into(), 7), ("second".into(), 5)]);
    assert_eq!((numbers(), kernel.puts.load(Ordering::Relaxed)), (number, puts));
}

#[tokio::test]
async fn a_local_api_with_another_key_keeps_its_bans_and_is_asked_at_once() {
    let server = Server::start(|head| {
        let ban = r#"{"new":[{"scope":"Ip","type":"ban","value":"203.0.113.7","duration":"4h"}]}"#;
        if head.contains("x-api-key: other") {
            answer(500, "", b"")
        } else {
            answer(200, "", ban.as_bytes())
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let kernel = Arc::new(Memory::default());
    let setup = || Setup {
        block: &["crowdsec"],
        lapi: Some(server.url()),
        kernel: Some(kernel.clone()),
        ..Setup::default()
    };
    let mut bench = Bench::new(dir.path(), "", setup(), START).await;
    bench.room.tend().await;
    assert_eq!((names(&bench), server.count()), (vec![("crowdsec".into(), 1)], 1));
    let same = settings(dir.path(), &setup());
    bench.room.renew(&same).await.unwrap();
    bench.room.tend().await;
    assert_eq!(server.count(), 1, "nothing is new");
    let mut other = same;
    other.feeds.crowdsec.key = Some(crate::types::Secret::new("other"));
    other.feeds.crowdsec.interval *= 2;
    bench.room.renew(&other).await.unwrap();
    bench.room.tend().await;
    let status = bench.status();
    assert_eq!((server.count(), status.failures, status.interval_s), (2, 1, 60));
    assert_eq!(names(&bench), [("crowdsec".into(), 1)], "what it said still counts");
    assert_eq!(kernel.lists.lock().unwrap().len(), 1);
    drop(bench);
    // Nor is it lost where the change comes with a restart.
    let setup = setup();
    let (mut room, feeds, ..) = super::super::testing::build(&other, &setup, None).unwrap();
    room.now = Box::new(|| START.after(std::time::Duration::from_mins(1)));
    room.open().await;
    assert!(feeds.contains("203.0.113.7".parse().unwrap()));
}
