//! The parser against etherparse on frames at random; what may differ is in `oracle`.

mod oracle;

use proptest::prelude::*;
use sentinel_common::addr::Addr;

fn compare(frame: &[u8]) -> Result<Option<oracle::Reviewed>, TestCaseError> {
    oracle::compare(frame).map_err(TestCaseError::fail)
}

fn l4(proto: u8) -> BoxedStrategy<Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..60);
    match proto {
        6 => (any::<[u8; 12]>(), 0u8..16, any::<u8>(), body)
            .prop_map(|(start, offset, flags, body)| [&start[..], &[offset << 4, flags], &[0; 6], &body].concat())
            .boxed(),
        17 => (any::<[u8; 4]>(), body)
            .prop_map(|(ports, body)| [&ports[..], &(8 + body.len() as u16).to_be_bytes(), &[0, 0], &body].concat())
            .boxed(),
        _ => body.boxed(),
    }
}

prop_compose! {
    fn ipv4()(proto in prop::sample::select(vec![1u8, 6, 6, 6, 17, 17, 47, 51]))
        (l4 in l4(proto), proto in Just(proto), words in 0usize..11, fragment in prop::sample::select(vec![0u16, 0, 0, 0x4000, 0x2000, 1, 0x2064]),
         src in any::<[u8; 4]>(), dst in any::<[u8; 4]>()) -> Vec<u8> {
        let len = (20 + words * 4 + l4.len()) as u16;
        [&[0x45 + words as u8, 0][..], &len.to_be_bytes(), &[0, 1], &fragment.to_be_bytes(), &[64, proto, 0, 0], &src, &dst, &vec![1; words * 4], &l4].concat()
    }
}

prop_compose! {
    fn ipv6()(proto in prop::sample::select(vec![6u8, 6, 17, 58, 59, 135]))
        (l4 in l4(proto), proto in Just(proto), src in any::<[u8; 16]>(), dst in any::<[u8; 16]>(),
         kinds in prop::collection::vec(prop::sample::select(vec![0u8, 43, 44, 51, 60]), 0..10),
         units in prop::collection::vec(0u8..4, 10), words in prop::collection::vec(prop::sample::select(vec![0u16, 0, 0, 1, 8, 9]), 10)) -> Vec<u8> {
        let mut chain = kinds;
        chain.push(proto);
        let mut payload = Vec::new();
        for (index, pair) in chain.windows(2).enumerate() {
            let (kind, next, len) = (pair[0], pair[1], units[index]);
            if kind == 44 {
                payload.extend([&[next, 0][..], &words[index].to_be_bytes(), &[0; 4]].concat());
            } else {
                let bytes = if kind == 51 { (usize::from(len) + 2) * 4 } else { (usize::from(len) + 1) * 8 };
                payload.extend([next, len]);
                payload.resize(payload.len() + bytes - 2, 0);
            }
        }
        payload.extend(l4);
        [&[0x60, 0, 0, 0][..], &(payload.len() as u16).to_be_bytes(), &[chain[0], 64], &src, &dst, &payload].concat()
    }
}

prop_compose! {
    fn frame()(tags in prop::collection::vec(prop::sample::select(vec![0x8100u16, 0x88a8, 0x9100]), 0..4),
               four in any::<bool>(), ethertype in prop::sample::select(vec![0u16, 0, 0, 0, 0, 0, 0x0806, 0x88e5, 0x1234]),
               v4 in ipv4(), v6 in ipv6(), padding in 0usize..20) -> Vec<u8> {
        let (kind, packet) = if four { (0x0800, v4) } else { (0x86dd, v6) };
        let kind = if ethertype == 0 { kind } else { ethertype };
        let mut out = vec![2; 12];
        for tag in tags {
            out.extend([tag.to_be_bytes(), [0, 5]].concat());
        }
        [out, u16::to_be_bytes(kind).to_vec(), packet, vec![0xee; padding]].concat()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn well_formed_frames(frame in frame()) {
        compare(&frame)?;
    }

    #[test]
    fn altered_frames(mut frame in frame(), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        for (at, byte) in edits {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        compare(&frame)?;
    }

    #[test]
    fn frames_cut_short(frame in frame(), at in any::<prop::sample::Index>()) {
        compare(&frame[..at.index(frame.len() + 1)])?;
    }
}

/// Most of what is generated is compared in full: a list that swallows everything would prove nothing.
#[test]
fn the_list_is_the_exception() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut same = 0;
    for _ in 0..2000 {
        let frame = frame().new_tree(&mut runner).map(|tree| tree.current());
        same += usize::from(frame.is_ok_and(|frame| compare(&frame).is_ok_and(|why| why.is_none())));
    }
    assert!(same > 1600, "only {same} of 2000 frames were compared in full");
    assert_ne!(Addr::default(), Addr::v4([0; 4]));
}
