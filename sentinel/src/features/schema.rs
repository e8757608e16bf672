//! Which features there are, in which order.

/// Version of the schema: raised with every change to a feature's name, order, unit or meaning. A model says for which
/// it was made.
pub const VERSION: u32 = 1;

/// What a feature looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// The IP protocol.
    Protocol,
    /// Packets of whoever opened the flow.
    Forward,
    /// Packets that came back.
    Reverse,
    /// The source's last 8 to 10 s, in flows it opened.
    Source10,
    /// The destination's last 8 to 10 s, in flows opened to it.
    Destination10,
    /// The source's last 60 or 300 s.
    Source,
    /// The source at one service (destination, port and protocol), of the last 60 or 300 s.
    Pair,
    /// A service (destination, port and protocol), of the last 60 s.
    Service,
}

/// One number of the vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name, and that of its column in tables.
    pub name: &'static str,
    /// What it looks at.
    pub group: Group,
    /// Unit; empty for shares, ratios and flags.
    pub unit: &'static str,
    /// Needs what goes out: absent from the vector of a host that sees only what comes in.
    pub needs_egress: bool,
    /// What it is.
    pub meaning: &'static str,
}

const fn feature(
    name: &'static str,
    group: Group,
    unit: &'static str,
    needs_egress: bool,
    meaning: &'static str,
) -> Feature {
    Feature {
        name,
        group,
        unit,
        needs_egress,
        meaning,
    }
}

/// Features of a vector.
pub const WIDTH: usize = FEATURES.len();

/// All of them, in order.
pub const FEATURES: [Feature; 41] = [
    feature("is_tcp", Group::Protocol, "", false, "1 for TCP"),
    feature("is_udp", Group::Protocol, "", false, "1 for UDP"),
    feature(
        "f_n",
        Group::Forward,
        "packets",
        false,
        "packets of whoever opened the flow",
    ),
    feature("f_b", Group::Forward, "bytes", false, "L3 bytes of theirs"),
    feature(
        "f_dur",
        Group::Forward,
        "s",
        false,
        "first to last packet of theirs, in steps of 10 ms",
    ),
    feature("f_lmin", Group::Forward, "bytes", false, "shortest packet of theirs"),
    feature("f_lmax", Group::Forward, "bytes", false, "longest packet of theirs"),
    feature("f_lmean", Group::Forward, "bytes", false, "mean length: f_b / f_n"),
    feature(
        "f_lstd",
        Group::Forward,
        "bytes",
        false,
        "standard deviation of the length: √(Σl²/n − mean²)",
    ),
    feature("f_imean", Group::Forward, "s", false, "mean gap: f_dur / (f_n − 1)"),
    feature("f_ppp", Group::Forward, "bytes", false, "L4 payload a packet"),
    feature("f_psh_r", Group::Forward, "", false, "share of packets with PSH"),
    feature("f_ack_r", Group::Forward, "", false, "share with ACK"),
    feature("f_syn_r", Group::Forward, "", false, "share with SYN and without ACK"),
    feature("f_rst", Group::Forward, "packets", false, "packets with RST"),
    feature("f_fin", Group::Forward, "packets", false, "packets with FIN"),
    feature(
        "f_zero_r",
        Group::Forward,
        "",
        false,
        "share of packets without payload",
    ),
    feature("r_n", Group::Reverse, "packets", true, "packets that came back"),
    feature("r_lmean", Group::Reverse, "bytes", true, "mean length of those"),
    feature("bn_ratio", Group::Reverse, "", true, "(f_n + 1) / (r_n + 1)"),
    feature("noreply", Group::Reverse, "", true, "1 where nothing came back"),
    feature(
        "ws_n",
        Group::Source10,
        "packets",
        false,
        "packets of the source in its last 10 s",
    ),
    feature("ws_flows", Group::Source10, "flows", false, "flows it began then"),
    feature(
        "ws_ports",
        Group::Source10,
        "ports",
        false,
        "distinct destination ports of these",
    ),
    feature(
        "ws_hosts",
        Group::Source10,
        "hosts",
        false,
        "distinct destinations of these",
    ),
    feature(
        "ws_blen",
        Group::Source10,
        "bytes",
        false,
        "L3 bytes a packet of the source",
    ),
    feature(
        "ws_synack_ratio",
        Group::Source10,
        "",
        false,
        "its SYNs / (its ACKs + 1)",
    ),
    feature(
        "ws_failr",
        Group::Source10,
        "",
        true,
        "share of its flows without an answer, or with a RST and no SYN-ACK, of those first told of then",
    ),
    feature(
        "wd_n",
        Group::Destination10,
        "packets",
        false,
        "packets to the destination in its last 10 s",
    ),
    feature(
        "wd_flows",
        Group::Destination10,
        "flows",
        false,
        "flows begun to it then",
    ),
    feature(
        "wd_srcs",
        Group::Destination10,
        "hosts",
        false,
        "distinct sources of these, estimated",
    ),
    feature("t60_s_failr", Group::Source, "", true, "like ws_failr, over 60 s"),
    feature(
        "t60_s_ports",
        Group::Source,
        "ports",
        false,
        "distinct destination ports over 60 s",
    ),
    feature(
        "t300_s_ports",
        Group::Source,
        "ports",
        false,
        "distinct destination ports over 300 s",
    ),
    feature(
        "t60_p_flows",
        Group::Pair,
        "flows",
        false,
        "flows of the source to this service over 60 s",
    ),
    feature(
        "t60_p_cvb",
        Group::Pair,
        "",
        false,
        "σ/µ of the L3 bytes, both ways, of the last 13 of these at most",
    ),
    feature(
        "t60_p_ppf",
        Group::Pair,
        "packets",
        false,
        "packets a flow, both ways, of the last 13 of these",
    ),
    feature(
        "t60_p_payf",
        Group::Pair,
        "bytes",
        false,
        "forward payload a flow of the last 13 of these",
    ),
    feature(
        "t300_p_flows",
        Group::Pair,
        "flows",
        false,
        "flows of the source to this service over 300 s",
    ),
    feature(
        "t300_p_cvi",
        Group::Pair,
        "",
        false,
        "σ/µ of the last 12 gaps between beginnings of these at most; −1 for fewer than 4 flows",
    ),
    feature(
        "t60_v_srcs",
        Group::Service,
        "hosts",
        false,
        "distinct sources of this service over 60 s",
    ),
];

/// One flow record's features, in the order of [`FEATURES`], in their units, not transformed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vector(pub [f64; WIDTH]);

/// Where a feature stands.
pub fn index_of(name: &str) -> Option<usize> {
    FEATURES.iter().position(|feature| feature.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_distinct_and_name_no_address_or_port() {
        let names: HashSet<_> = FEATURES.iter().map(|feature| feature.name).collect();
        assert_eq!(names.len(), WIDTH);
        for forbidden in ["src", "dst", "sport", "dport", "ttl"] {
            assert!(
                !names.contains(forbidden),
                "{forbidden} identifies who it was, not what it did"
            );
        }
    }

    #[test]
    fn every_one_is_where_its_name_says() {
        for (at, feature) in FEATURES.iter().enumerate() {
            assert_eq!(index_of(feature.name), Some(at));
        }
        assert_eq!(index_of("f_istd"), None);
    }
}
