//! Drop its packets, and disconnect the container that has the address from its networks (`control/isolation.rs`).

use super::{ActionKind, Needs, Profile, block_ip};

pub(super) const PROFILE: Profile = Profile {
    name: "isolate_container",
    words: &["isolate"],
    help: "Disconnect the container that has the address from its networks, and block the address",
    in_kernel: Some(ActionKind::BlockIp),
    needs: Needs::Container,
    told: [
        "has its container isolated",
        "would have its container isolated",
    ],
    told_otherwise: "has its container isolated in part",
    ..block_ip::PROFILE
};
