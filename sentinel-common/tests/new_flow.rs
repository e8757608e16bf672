//! What a new flow meets: who makes room for it, and what is told of a slot.

use proptest::prelude::*;
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{STATE_CLOSED, STATE_HANDSHAKE};
use sentinel_common::slot::{Bucket, HEAD_BUSY, HEAD_FIN, HEAD_TOLD, Head, KEEP_UNITS, Slot, age};

/// Slots of any flow with any counts.
fn slots() -> impl Strategy<Value = Slot> {
    (
        any::<[u64; 4]>(),
        any::<[u32; 12]>(),
        any::<[u16; 8]>(),
        any::<[u8; 3]>(),
    )
        .prop_map(|(ends, words, counts, probes)| {
            let long = |at: usize| u64::from(words[at]) << 16 | u64::from(words[at + 1]);
            Slot {
                ends,
                ports: words[0],
                kind: words[1] as u16 & 0x7ff,
                lately: long(2),
                lately_bytes: words[7],
                bytes: long(3),
                squares: long(4),
                payload_bytes: long(5),
                first: words[6],
                ifindex: words[8],
                zero_payload: words[9],
                psh: words[10],
                no_ack: words[11],
                len_min: counts[0],
                len_max: counts[1],
                fragments: counts[2],
                syn: counts[3],
                synack: counts[4],
                fin: counts[5],
                rst: counts[6],
                urg: counts[7],
                ecn: counts[0] ^ counts[7],
                null: probes[0],
                xmas: probes[1],
                bare_fin: probes[2],
                ..Slot::default()
            }
        })
}

/// How much a flow would be missed, by the rule's words: rank, then how recently it was used.
fn missed(head: &Head, now: u32) -> (u32, u32) {
    if head.tag == 0 {
        return (0, 0);
    }
    let silent = age(now, head.last);
    let ended = u32::from(head.state) & STATE_CLOSED != 0 || head.state & HEAD_FIN != 0;
    let rank = if head.state & HEAD_BUSY == 0 || ended || silent >= KEEP_UNITS {
        1
    } else {
        2 + u32::from(u32::from(head.state) & STATE_HANDSHAKE != 0)
    };
    (rank, !silent)
}

proptest! {
    #[test]
    fn who_is_missed_least_makes_room(
        now: u32, flows in prop::array::uniform4((any::<bool>(), 0u32..1_000_000, 0u16..2048)), near: bool
    ) {
        let mut bucket = Bucket::default();
        for (way, (held, silent, state)) in flows.into_iter().enumerate() {
            let silent = if near { silent % 3 + KEEP_UNITS - 1 } else { silent };
            if held {
                bucket.heads[way] = Head { tag: 2 * way as u32 + 1, last: now.wrapping_sub(silent), state, packets: 1, seq: 0 };
            }
        }
        let missed = bucket.heads.map(|head| missed(&head, now));
        let least = *missed.iter().min().unwrap();
        if let Some(way) = bucket.victim(99, now) {
            prop_assert_eq!(missed[way as usize], least);
            prop_assert!(least.0 < 3);
        } else {
            prop_assert_eq!(least.0, 3);
        }
    }

    #[test]
    fn what_is_told_of_a_slot_is_its_key_and_its_counts(slot in slots(), packets: u32, state: u16, last: u32, now in 0u64..1 << 60) {
        let head = Head { tag: 1, last, packets, seq: 7, state };
        let mut record = FlowRecord::default();
        slot.tell(&head, now, &mut record);
        prop_assert_eq!(record, FlowRecord {
            now_ns: now,
            key: slot.key(),
            counts: slot.half(&head, now),
            state: u32::from(state & HEAD_TOLD),
            direction: slot.direction(),
            ifindex: slot.ifindex,
            seq: 7,
            ..FlowRecord::default()
        });
    }
}
