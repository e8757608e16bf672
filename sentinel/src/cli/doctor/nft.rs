//! Whether sets of nftables can carry decisions out: for `kernel.hook: nftables`.

use super::Finding;
use crate::kernel::probe;
use crate::nft::{NftError, version};

pub(super) fn findings() -> Vec<Finding> {
    let missing = probe::missing_for_nftables();
    vec![
        program(version()),
        if missing.is_empty() {
            Finding::pass("privileges", "enough for nftables")
        } else {
            Finding::fail(
                "privileges",
                format!("{} is missing", missing.join(", ")),
                "run as root, or `setcap cap_net_admin+ep` on the binary",
            )
        },
        Finding::warn(
            "hook",
            "nftables: decisions made by hand are carried out; no packet is seen, so nothing is detected",
            "set `kernel.hook: xdp` or `auto` where BPF can be loaded; `sentinel doctor` then tells whether it can",
        ),
    ]
}

fn program(version: Result<String, NftError>) -> Finding {
    match version {
        Ok(version) => Finding::pass("nft", version),
        Err(error) => Finding::fail("nft", error.to_string(), "apt install nftables"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_missing_program_fails_and_one_that_is_there_is_named() {
        assert_eq!(program(Ok("nftables v1.0.6".into())).level, Level::Pass);
        let finding = program(Err(NftError::NoProgram { looked: "/sbin".into() }));
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.mend.contains("nftables"), "{finding:?}");
    }
}
