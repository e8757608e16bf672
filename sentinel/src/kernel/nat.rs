//! Whether NAT may take connections elsewhere before they reach a socket of this network namespace.
//!
//! Asked is what there is, not what it says: rules have sets, maps and matches of which nobody outside the kernel can
//! say for which ports they hold.

use super::netlink::{Message, exchange_with};
use crate::netlink::{attributes, request, word};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// `NFNL_SUBSYS_NFTABLES` (`include/uapi/linux/netfilter/nfnetlink.h`).
const NFTABLES: u16 = 10 << 8;
/// `NFT_MSG_NEWCHAIN` and `NFT_MSG_GETCHAIN` (`include/uapi/linux/netfilter/nf_tables.h`, as all below).
const NEW_CHAIN: u16 = NFTABLES | 3;
const GET_CHAIN: u16 = NFTABLES | 4;
/// Length of `struct nfgenmsg`.
const NFGENMSG: usize = 4;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_USE: u16 = 6;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;

/// What there is of NAT for what comes in, in this network namespace; `None` where there is none. What cannot be
/// looked at counts as there.
pub(super) fn diverts() -> Option<String> {
    // NAT stands on connection tracking. Without that nothing is asked: asking would load modules.
    if !Path::new("/proc/sys/net/netfilter/nf_conntrack_count").exists() {
        return None;
    }
    nftables().or_else(|| {
        ["ip_tables_names", "ip6_tables_names"]
            .into_iter()
            .find_map(|file| legacy(file, fs::read_to_string(Path::new("/proc/thread-self/net").join(file))))
    })
}

fn legacy(file: &str, tables: std::io::Result<String>) -> Option<String> {
    match tables {
        Ok(tables) => tables
            .lines()
            .any(|table| table == "nat")
            .then(|| format!("the table nat of iptables ({file})")),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => Some(format!("perhaps a table of iptables: {file} cannot be read ({error})")),
    }
}

fn nftables() -> Option<String> {
    // A `struct nfgenmsg` of zeroes: every family.
    let request = request(GET_CHAIN, libc::NLM_F_DUMP, &[0; NFGENMSG]);
    match exchange_with(libc::NETLINK_NETFILTER, &request, true) {
        Ok(chains) => chains.iter().find_map(sent_elsewhere),
        // This kernel has no nftables.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::ENOENT)
            ) =>
        {
            None
        }
        Err(error) => Some(format!("perhaps a chain of nftables: they cannot be listed ({error})")),
    }
}

/// The name of a chain, where it is one of NAT for what comes in and has rules.
fn sent_elsewhere((kind, body): &Message) -> Option<String> {
    let found = attributes(body, NFGENMSG);
    let of = |wanted: u16| found.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| *value);
    let number = |value: &[u8]| u32::from_be(word(value, 0));
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
    let hook = attributes(of(CHAIN_HOOK)?, 0)
        .into_iter()
        .find(|(kind, _)| *kind == HOOK_NUMBER)
        .map(|(_, value)| number(value))?;
    let nat = *kind == NEW_CHAIN && of(CHAIN_TYPE).map(text).as_deref() == Some("nat");
    let rules = of(CHAIN_USE).is_none_or(|value| number(value) > 0);
    // `NF_INET_PRE_ROUTING` is 0.
    (nat && hook == 0 && rules).then(|| {
        let name = |wanted| of(wanted).map(text).unwrap_or_default();
        format!("the nftables chain {} {}", name(CHAIN_TABLE), name(CHAIN_NAME))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut out = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn chain(kind: &[u8], hook: u32, rules: u32) -> Message {
        let hook = attribute(HOOK_NUMBER, &hook.to_be_bytes());
        let body = [
            vec![2, 0, 0, 0],
            attribute(CHAIN_TABLE, b"nat\0"),
            attribute(CHAIN_NAME, b"PREROUTING\0"),
            attribute(CHAIN_HOOK, &hook),
            attribute(CHAIN_USE, &rules.to_be_bytes()),
            attribute(CHAIN_TYPE, kind),
        ];
        (NEW_CHAIN, body.concat())
    }

    #[test]
    fn only_a_chain_of_nat_before_routing_with_rules_sends_elsewhere() {
        let found = sent_elsewhere(&chain(b"nat\0", 0, 1));
        assert_eq!(found.as_deref(), Some("the nftables chain nat PREROUTING"));
        for other in [
            chain(b"nat\0", 0, 0),
            chain(b"nat\0", 4, 1),
            chain(b"filter\0", 0, 1),
            (NEW_CHAIN, vec![2, 0, 0, 0]),
            (NEW_CHAIN, vec![]),
        ] {
            assert_eq!(sent_elsewhere(&other), None, "{other:?}");
        }
    }

    #[test]
    fn a_list_of_tables_that_cannot_be_read_counts_as_one_with_nat() {
        let error = |kind: ErrorKind| Err(kind.into());
        assert!(legacy("x", Ok("filter\nnat\n".into())).is_some());
        assert_eq!(legacy("x", Ok("filter\n".into())), None);
        assert_eq!(legacy("x", error(ErrorKind::NotFound)), None);
        assert!(legacy("x", error(ErrorKind::PermissionDenied)).is_some());
    }
}
