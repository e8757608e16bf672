//! Which flows of a capture are attacks: the rules of a `labels.csv`.

use crate::features::FeatureRecord;
use sentinel_common::flow::PROTO_UDP;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What a line of the list says of its capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `label=benign`: every flow is.
    Benign,
    /// `attackers=all`: every flow is an attack.
    All,
    /// `attackers=udp`, or `udp53` for that port only (either side's): these are attacks, and nothing is known of the rest.
    Udp(Option<u16>),
    /// `attackers=a;b`: flows with one of these addresses, at either end, are attacks.
    Addresses {
        /// The attackers.
        attackers: BTreeSet<IpAddr>,
        /// Which of the rest is benign.
        benign: Rest,
    },
    /// `label=mixed`, `attackers=csv`: packets are labelled one by one in a file beside the capture; a flow with one
    /// flagged packet is an attack.
    Packets,
}

/// What is known of flows without an attacker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// They are benign (`|benign=*`, or nothing said).
    Benign,
    /// Those with one of these addresses are; nothing is known of the others.
    With(BTreeSet<IpAddr>),
}

impl Rule {
    /// Reads the columns `label` and `attackers`.
    ///
    /// # Errors
    /// What is wrong with them, and the mend.
    pub fn parse(label: &str, attackers: &str) -> Result<Self, String> {
        match (label, attackers) {
            ("benign", "") => return Ok(Self::Benign),
            ("benign", _) => return Err("a benign capture has no attackers: leave that column empty".into()),
            ("attack", "") => return Err("an attack needs attackers: addresses, `udp` or `all`".into()),
            ("attack", "all") => return Ok(Self::All),
            ("mixed", "csv") => return Ok(Self::Packets),
            ("attack" | "mixed", _) => {}
            _ => return Err(format!("label `{label}` is none of benign, attack, mixed")),
        }
        let (who, rest) = match attackers.split_once('|') {
            None => (attackers, "*"),
            Some((who, rest)) => {
                let rest = rest.strip_prefix("benign=");
                (
                    who,
                    rest.ok_or("what follows `|` must be `benign=` and addresses or `*`")?,
                )
            }
        };
        if let Some(port) = who.strip_prefix("udp") {
            let port = match port {
                "" => None,
                port => Some(port.parse().map_err(|_| format!("`{port}` is no UDP port"))?),
            };
            return Ok(Self::Udp(port));
        }
        Ok(Self::Addresses {
            attackers: addresses(who)?,
            benign: match rest {
                "*" => Rest::Benign,
                "" => Rest::With(BTreeSet::new()),
                list => Rest::With(addresses(list)?),
            },
        })
    }

    /// Whether a flow is an attack; `None` where the rule does not know. `flagged` where one of its packets is.
    pub fn judge(&self, record: &FeatureRecord, flagged: bool) -> Option<bool> {
        let with = |set: &BTreeSet<IpAddr>| set.contains(&record.source) || set.contains(&record.target.ip);
        match self {
            Self::Benign => Some(false),
            Self::All => Some(true),
            Self::Udp(port) => {
                let there = port.is_none_or(|p| record.source_port == p || record.target.port == p);
                (record.target.proto == PROTO_UDP && there).then_some(true)
            }
            Self::Addresses { attackers, .. } if with(attackers) => Some(true),
            Self::Addresses { benign, .. } => match benign {
                Rest::Benign => Some(false),
                Rest::With(set) => with(set).then_some(false),
            },
            Self::Packets => Some(flagged),
        }
    }
}

fn addresses(list: &str) -> Result<BTreeSet<IpAddr>, String> {
    let parse = |text: &str| text.parse().map_err(|_| format!("`{text}` is no address"));
    list.split(';').map(|text| parse(text.trim())).collect()
}
