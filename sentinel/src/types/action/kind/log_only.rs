//! Nothing but the record.

use super::{Needs, Profile};

pub(super) const PROFILE: Profile = Profile {
    name: "log_only",
    words: &[],
    help: "Nothing but the record",
    entry: None,
    in_kernel: None,
    rated: false,
    egress: false,
    needs: Needs::Nothing,
    done: |_| "logged".to_owned(),
    spared: "not acted on",
    told: ["is only logged", "is only logged"],
    told_otherwise: "is only logged",
};
