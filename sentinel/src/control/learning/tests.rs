//! What an interrupted collection becomes.

use super::*;
use crate::config::Config;
use crate::detect::Collector;
use crate::model::testing::record as hand_made;
use crate::types::{Clock, Mint};
use std::future::Future;

fn model() -> Arc<Model> {
    Arc::new(Model::new(hand_made()).unwrap())
}

/// A run of the agent, as far as learn mode is concerned: what `scenario` asks is answered, and then the house closes.
/// Gives what was counted of the journal: resumed, refused, unwritten, rewritten.
async fn run<F: Future<Output = ()>>(
    site: &Path,
    detectors: &mut Detectors,
    scenario: impl FnOnce(mpsc::Sender<LearnRequest>) -> F,
) -> [u64; 4] {
    let metrics = Arc::new(Metrics::new());
    let (asks_tx, mut asks) = mpsc::channel(4);
    let (wishes_tx, wishes) = mpsc::channel(4);
    let mut room = LearnRoom::new(asks_tx, site.to_owned(), model(), Arc::clone(&metrics));
    room.resume(detectors);
    let cancel = CancellationToken::new();
    let analysis = async {
        while let Some(ask) = asks.recv().await {
            let accepted = matches!(ask, Ask::Judge(..));
            assert!(
                !accepted || (site.exists() && !site.with_file_name(PART).exists()),
                "a kill right now leaves a model and no collection"
            );
            answer(detectors, ask, crate::types::Ktime(1));
        }
    };
    let scenario = async {
        scenario(wishes_tx).await;
        cancel.cancel();
    };
    tokio::join!(analysis, room.run(wishes, cancel.clone()), scenario);
    ["resumed", "refused", "unwritten", "rewritten"]
        .map(|event| metrics.journal.get_or_create(&JournalLabels { event }).get())
}

async fn wish(room: &mpsc::Sender<LearnRequest>, wish: LearnWish) -> Result<Learning, LearnError> {
    let (reply, answer) = oneshot::channel();
    room.send((wish, reply)).await.unwrap();
    answer.await.unwrap()
}

fn detectors() -> Detectors {
    let config = Config::default();
    Detectors::new(&config, Clock::default(), Mint::Counted(0), "test").with_model(&config, model())
}

/// All of a collection of so many records.
fn gathered(records: u32) -> Gain {
    let kept = |n: u32| crate::detect::Kept {
        number: u64::from(n) + 1,
        source: sentinel_common::addr::Addr::v4([192, 0, 2, (n % 250) as u8]),
        vector: crate::model::testing::vector(f64::from(n % 40), f64::from(n % 7)),
    };
    Gain {
        seen: records.into(),
        drawn: records.into(),
        kept: (0..records).map(|n| (n, kept(n))).collect(),
        ..Gain::default()
    }
}

#[tokio::test]
async fn at_its_bound_the_file_is_written_anew_and_that_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (site, part) = (dir.path().join("site.model"), dir.path().join(PART));
    let mut journal = Journal::new(part.clone(), *model().sha256());
    let mut whole = gathered(Collector::ROOM as u32);
    journal.begin(Timestamp(7), &whole).unwrap();
    while !journal.needs_whole() {
        (whole.seen, whole.drawn) = (whole.seen + 1, whole.drawn + 1);
        journal.append(&whole).unwrap();
    }
    drop(journal);
    let length = || std::fs::metadata(&part).unwrap().len();
    let longest = length();
    let counted = run(&site, &mut detectors(), async |room| {
        assert_eq!(wish(&room, LearnWish::Status).await.unwrap().seen, whole.seen);
    })
    .await;
    assert_eq!(counted, [1, 0, 0, 1]);
    assert!(length() < longest, "{} of {longest}", length());
    let counted = run(&site, &mut detectors(), async |room| {
        assert_eq!(wish(&room, LearnWish::Status).await.unwrap().seen, whole.seen);
    })
    .await;
    assert_eq!(counted, [1, 0, 0, 0], "and goes on");
}

#[tokio::test]
async fn a_collection_goes_on_after_a_restart_until_it_is_accepted_or_let_go_of() {
    let dir = tempfile::tempdir().unwrap();
    let (site, part) = (dir.path().join("site.model"), dir.path().join(PART));
    let counted = run(&site, &mut detectors(), async |room| {
        assert_eq!(wish(&room, LearnWish::Status).await.unwrap().since, None);
        assert!(!part.exists());
        let begun = wish(&room, LearnWish::Start).await.unwrap();
        assert_eq!((begun.resumed, begun.warning), (None, None));
        assert!(part.exists(), "a kill right now would not end it");
    })
    .await;
    assert_eq!(counted, [0; 4]);
    let counted = run(&site, &mut detectors(), async |room| {
        let going_on = wish(&room, LearnWish::Status).await.unwrap();
        assert!(going_on.since.is_some() && going_on.resumed.is_some() && going_on.warning.is_none());
        assert!(matches!(
            wish(&room, LearnWish::Accept).await,
            Err(LearnError::TooFew { .. })
        ));
        assert!(part.exists(), "what is refused goes on");
        let anew = wish(&room, LearnWish::Start).await.unwrap();
        assert_eq!(anew.resumed, None);
        assert_eq!(wish(&room, LearnWish::Discard).await.unwrap().since, None);
        assert!(!part.exists());
        assert_eq!(wish(&room, LearnWish::Discard).await, Err(LearnError::NotLearning));
    })
    .await;
    assert_eq!(counted, [1, 0, 0, 0]);
}

#[tokio::test]
async fn what_was_accepted_is_no_collection_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let (site, part) = (dir.path().join("site.model"), dir.path().join(PART));
    // As an earlier run left it.
    let enough = needed(ALPHAS[1]) as u32 + 5;
    let gain = gathered(enough);
    Journal::new(part.clone(), *model().sha256())
        .begin(Timestamp(7), &gain)
        .unwrap();
    let counted = run(&site, &mut detectors(), async |room| {
        let going_on = wish(&room, LearnWish::Status).await.unwrap();
        assert_eq!((going_on.since, going_on.kept), (Some(Timestamp(7)), enough.into()));
        let accepted = wish(&room, LearnWish::Accept).await.unwrap();
        assert!(accepted.calibrated && accepted.since.is_none() && accepted.resumed.is_none());
        assert!(site.exists() && !part.exists());
    })
    .await;
    assert_eq!(counted, [1, 0, 0, 0]);
}

#[tokio::test]
async fn what_cannot_go_on_and_what_cannot_be_kept_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (site, part) = (dir.path().join("site.model"), dir.path().join(PART));
    std::fs::write(&part, "something else").unwrap();
    let counted = run(&site, &mut detectors(), async |room| {
        let status = wish(&room, LearnWish::Status).await.unwrap();
        assert_eq!(status.since, None);
        assert!(
            status
                .warning
                .is_some_and(|w| w.contains("is no journal") && w.contains("learning.part.refused"))
        );
        assert_eq!(wish(&room, LearnWish::Start).await.unwrap().warning, None);
    })
    .await;
    assert_eq!(counted, [0, 1, 0, 0]);
    let nowhere = dir.path().join("gone/site.model");
    let counted = run(&nowhere, &mut detectors(), async |room| {
        let begun = wish(&room, LearnWish::Start).await.unwrap();
        assert!(begun.since.is_some(), "it collects all the same");
        assert!(begun.warning.is_some_and(|w| w.contains("would not survive a restart")));
    })
    .await;
    assert!(counted[2] >= 1, "{counted:?}");
}
