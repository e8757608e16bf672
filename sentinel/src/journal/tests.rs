//! What is written is taken in again, whatever the disk made of it.

use super::*;
use crate::detect::Kept;
use crate::features::{Vector, WIDTH};
use proptest::prelude::*;
use sentinel_common::addr::Addr;

const SINCE: Timestamp = Timestamp(1_700_000_000_000_000_000);
const MODEL: Sum = [7; 32];

/// Records `from..to`, each at its place, and one source accused.
fn gain(from: u32, to: u32) -> Gain {
    let kept = (from..to).map(|n| {
        let kept = Kept {
            number: u64::from(n) + 1,
            source: Addr::v4([192, 0, 2, n as u8]),
            vector: Vector([f64::from(n) + 0.25; WIDTH]),
        };
        (n, kept)
    });
    Gain {
        seen: u64::from(to) + 5,
        left_out: 5,
        drawn: to.into(),
        random: 99,
        accused: vec![Addr::v4([192, 0, 2, from as u8])],
        kept: kept.collect(),
    }
}

/// A journal of three batches, of 3, 4 and 5 records, and how long it was after each.
fn three(dir: &Path) -> (PathBuf, [usize; 3]) {
    let path = dir.join("learning.part");
    let mut journal = Journal::new(path.clone(), MODEL);
    assert!(journal.resume().unwrap().is_none() && journal.needs_whole());
    let length = || std::fs::metadata(&path).unwrap().len() as usize;
    journal.begin(SINCE, &gain(0, 3)).unwrap();
    let first = length();
    journal.append(&gain(3, 7)).unwrap();
    let second = length();
    journal.append(&gain(7, 12)).unwrap();
    assert!(!journal.needs_whole());
    let lengths = [first, second, length()];
    (path, lengths)
}

fn resume(path: &Path) -> Result<Option<Resumed>, JournalError> {
    Journal::new(path.into(), MODEL).resume()
}

#[track_caller]
fn refused(path: &Path, bytes: &[u8], model: Sum, why: &str) {
    std::fs::write(path, bytes).unwrap();
    let error = Journal::new(path.into(), model).resume().unwrap_err().to_string();
    assert!(error.contains(why) && error.contains("sentinel learn start"), "{error}");
    assert!(!path.exists(), "it is set aside");
    let aside = Journal::new(path.into(), MODEL).aside();
    assert_eq!(std::fs::read(&aside).unwrap(), bytes);
    assert!(resume(path).unwrap().is_none(), "nothing of it is taken in");
}

#[test]
fn what_was_written_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (path, lengths) = three(dir.path());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "addresses are for nobody else");
    let mut journal = Journal::new(path.clone(), MODEL);
    let resumed = journal.resume().unwrap().unwrap();
    assert_eq!((resumed.cut, resumed.collector.since()), (0, SINCE));
    // 12 kept, of which three are of accused sources.
    assert_eq!(resumed.collector.counts(), (17, 9, 8));
    let firsts: Vec<_> = resumed.collector.vectors().iter().map(|v| v.0[0]).collect();
    assert_eq!(firsts, [1.25, 2.25, 4.25, 5.25, 6.25, 8.25, 9.25, 10.25, 11.25]);
    // The same file goes on, and only with what is new.
    let nothing = Gain {
        accused: vec![],
        kept: vec![],
        ..gain(0, 12)
    };
    journal.append(&nothing).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len() as usize, lengths[2]);
    journal.append(&gain(12, 13)).unwrap();
    assert_eq!(resume(&path).unwrap().unwrap().collector.counts().0, 18);
    journal.remove().unwrap();
    journal.remove().unwrap();
    assert!(!path.exists() && journal.needs_whole() && journal.append(&gain(0, 1)).is_err());
}

#[test]
fn a_torn_end_is_cut_off_at_the_last_whole_batch() {
    let dir = tempfile::tempdir().unwrap();
    let (path, [first, second, third]) = three(dir.path());
    let bytes = std::fs::read(&path).unwrap();
    let cuts = [
        third - 1,
        third - 33,
        second + 5,
        second + 4,
        second + 1,
        second,
        second - 1,
        first + 60,
    ];
    for cut in cuts {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let whole = if cut >= second { second } else { first };
        let resumed = resume(&path).unwrap().unwrap();
        assert_eq!(resumed.cut, (cut - whole) as u64, "of {cut} bytes");
        assert_eq!(
            std::fs::read(&path).unwrap(),
            bytes[..whole],
            "the file is as long as what counts"
        );
        let again = resume(&path).unwrap().unwrap();
        assert_eq!((again.cut, again.collector.counts()), (0, resumed.collector.counts()));
    }
    // A bit that turned, and batches in another order: nothing behind them counts.
    let mut turned = bytes.clone();
    turned[second - 40] ^= 1;
    std::fs::write(&path, &turned).unwrap();
    assert_eq!(resume(&path).unwrap().unwrap().cut, (third - first) as u64);
    let moved = [&bytes[..first], &bytes[second..], &bytes[first..second]].concat();
    std::fs::write(&path, moved).unwrap();
    assert_eq!(resume(&path).unwrap().unwrap().cut, (third - first) as u64);
}

#[test]
fn a_file_of_something_else_is_refused_and_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (path, lengths) = three(dir.path());
    let bytes = std::fs::read(&path).unwrap();
    refused(&path, b"", MODEL, "is no journal");
    refused(&path, b"origin,group,family\n", MODEL, "is no journal");
    refused(&path, &bytes[..60], MODEL, "is damaged in its header");
    refused(
        &path,
        &bytes,
        [8; 32],
        "another model (0707070707070707…, not 0808080808080808…)",
    );
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        bytes
    };
    refused(&path, &with(8, 2), MODEL, "has format 2, this program writes 1");
    refused(&path, &with(50, 0xee), MODEL, "is damaged in its header");
    let schema = Schema {
        version: 77,
        ..Schema::ours()
    };
    let other = Header {
        schema,
        model: MODEL,
        since: SINCE,
    };
    refused(&path, &other.encode().0, MODEL, "feature schema 77");
    // Whole by its sum, and no sound collection.
    let header = Header {
        schema: Schema::ours(),
        model: MODEL,
        since: SINCE,
    };
    for unsound in [gain(1, 3), Gain { seen: 0, ..gain(0, 3) }] {
        let (mut bytes, sum) = header.encode();
        format::append(&mut bytes, &sum, &unsound);
        refused(&path, &bytes, MODEL, "batch 1: its numbers contradict each other");
    }
    let mut long = bytes;
    long.resize(MAX_BYTES as usize + 1, 0);
    refused(&path, &long, MODEL, "is longer than");
    assert!(lengths[2] < MAX_BYTES as usize);
}

#[test]
fn at_its_bound_it_is_written_anew_and_shorter() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("learning.part");
    let mut journal = Journal::new(path.clone(), MODEL);
    let room = Collector::ROOM as u32;
    journal
        .begin(
            SINCE,
            &Gain {
                accused: vec![],
                ..gain(0, room)
            },
        )
        .unwrap();
    let whole = std::fs::metadata(&path).unwrap().len();
    assert!(!journal.needs_whole(), "there is room for a batch of any size");
    let mut batches = 0;
    while !journal.needs_whole() {
        // The same places again and again, as in a sample that is full.
        let mut gain = gain(0, room / 4);
        (gain.seen, gain.drawn) = (u64::from(room + batches) + 6, u64::from(room + batches) + 1);
        journal.append(&gain).unwrap();
        batches += 1;
        assert!(batches < 9, "it never comes to an end");
    }
    let longest = std::fs::metadata(&path).unwrap().len();
    assert!(
        longest <= MAX_BYTES && batches >= 1,
        "{longest} bytes, {batches} batches"
    );
    let collector = resume(&path).unwrap().unwrap().collector;
    assert_eq!(collector.counts().0, u64::from(room + batches) + 5);
    journal
        .begin(
            SINCE,
            &Gain {
                accused: vec![],
                ..gain(0, room)
            },
        )
        .unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), whole);
}

#[test]
fn what_the_disk_refuses_is_said_and_the_next_batch_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::new(dir.path().join("none/learning.part"), MODEL);
    let error = journal.begin(SINCE, &gain(0, 3)).unwrap_err().to_string();
    assert!(
        error.contains("none/learning.part") && error.contains("room on the disk"),
        "{error}"
    );
    assert!(journal.needs_whole());
    std::fs::create_dir(dir.path().join("none")).unwrap();
    journal.begin(SINCE, &gain(0, 3)).unwrap();
    assert!(!journal.needs_whole());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_bring_it_down_and_none_are_half_taken_in(
        cut in 0usize..6000, at in 0usize..6000, byte in any::<u8>()
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = three(dir.path());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(cut.max(1));
        let at = at % bytes.len();
        bytes[at] = byte;
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(Some(resumed)) = resume(&path) {
            prop_assert!([0, 8, 12, 17].contains(&resumed.collector.counts().0));
        }
    }
}
