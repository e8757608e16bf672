//! Drop what exceeds a rate, in the kernel.

use super::{Needs, Profile};
use sentinel_common::entry::ACTION_LIMIT;

pub(super) const PROFILE: Profile = Profile {
    name: "rate_limit",
    words: &["rate_limit", "throttle"],
    help: "Drop what exceeds a rate",
    entry: Some(ACTION_LIMIT),
    in_kernel: None,
    rated: true,
    egress: false,
    needs: Needs::Nothing,
    done: |terms| match terms.rate {
        Some(rate) => format!("limits to {rate},"),
        None => "limits".to_owned(),
    },
    spared: "not limited",
    told: ["is limited", "would be limited"],
    told_otherwise: "is limited otherwise than meant",
};
