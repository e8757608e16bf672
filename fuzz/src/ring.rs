//! Batches of the ring: records back to back, as the kernel programs leave them.

use crate::Target;
use sentinel::kernel::decode;
use sentinel_common::event::{Header, KIND_FLOW, KIND_REFLEX, KIND_RETURN, KIND_SYN_FLOOD, VERSION};
use std::collections::BTreeMap;

/// The target.
pub const TARGET: Target = Target {
    name: "ring",
    run,
    seeds,
};

fn run(batch: &[u8]) {
    let (mut records, mut rejected) = (0, BTreeMap::<&str, usize>::new());
    for record in decode(batch) {
        match record {
            Ok(_) => records += 1,
            Err(error) => *rejected.entry(error.reason()).or_default() += 1,
        }
    }
    let all: usize = records + rejected.values().sum::<usize>();
    assert!(
        all <= batch.len() / size_of::<Header>() + 1,
        "{all} out of {} bytes",
        batch.len()
    );
}

/// A record of each kind, and each length a kind might have.
fn seeds() -> Vec<Vec<u8>> {
    let one = |kind: u16, len: u32| {
        let mut record = vec![0x5a; len as usize];
        record[..2].copy_from_slice(&kind.to_ne_bytes());
        record[2..4].copy_from_slice(&VERSION.to_ne_bytes());
        record[4..8].copy_from_slice(&len.to_ne_bytes());
        record
    };
    [KIND_FLOW, KIND_REFLEX, KIND_RETURN, KIND_SYN_FLOOD, 99]
        .into_iter()
        .flat_map(|kind| (8..=256).step_by(8).map(move |len| (kind, len)))
        .map(|(kind, len)| one(kind, len))
        .filter(|record| decode(record).all(|record| record.is_ok()) || record.len() == 8)
        .collect()
}
