//! Send its packets to a decoy, in the kernel.

use super::{Needs, Profile};
use sentinel_common::entry::ACTION_REDIRECT;

pub(super) const PROFILE: Profile = Profile {
    name: "redirect_to_honeypot",
    words: &["redirect"],
    help: "Send its packets to the honeypot",
    entry: Some(ACTION_REDIRECT),
    in_kernel: None,
    rated: false,
    egress: false,
    needs: Needs::Honeypot,
    done: |_| "redirects to the honeypot,".to_owned(),
    spared: "not redirected",
    told: ["is redirected to the honeypot", "would be redirected to the honeypot"],
    told_otherwise: "is not redirected to the honeypot as meant",
};
