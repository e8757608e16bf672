//! Drop its packets in the kernel.

use super::{Needs, Profile};
use sentinel_common::entry::ACTION_DROP;

pub(super) const PROFILE: Profile = Profile {
    name: "block_ip",
    // `ban` is what CrowdSec's lists call it.
    words: &["block", "ban"],
    help: "Drop its packets in the kernel",
    entry: Some(ACTION_DROP),
    in_kernel: None,
    rated: false,
    egress: true,
    needs: Needs::Nothing,
    done: |terms| {
        let where_to = if terms.egress { " in both directions" } else { "" };
        format!("enforced{where_to}")
    },
    spared: "not dropped",
    told: ["is blocked", "would be blocked"],
    told_otherwise: "is blocked in part",
};
