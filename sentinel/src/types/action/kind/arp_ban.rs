//! Have Bettercap keep a neighbour from the gateway (`control/bans.rs`): beside the block of its decision, never a decision's own.

use super::{Profile, log_only};

pub(super) const PROFILE: Profile = Profile {
    name: "arp_ban",
    help: "Keep a neighbour from the gateway by arp.ban of Bettercap, beside its block",
    done: |_| "banned by ARP".to_owned(),
    spared: "not banned by ARP",
    told: ["is kept from the gateway", "would be kept from the gateway"],
    told_otherwise: "is kept from the gateway in part",
    ..log_only::PROFILE
};
