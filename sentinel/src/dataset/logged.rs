//! From a log of flows and its labels to a table.

use super::Labels;
use super::corpus::Summary;
use super::error::DatasetError;
use super::list::{Ends, ends, name_of};
use super::table::{Source, Table};
use crate::config::Config;
use crate::features::FeatureRecord;
use crate::files::Meter;
use crate::replay::{FeatureSummary, reenact};
use crate::sensor::flowlog::{FlowLog, LoggedFlow};
use std::collections::HashMap;
use std::path::Path;

/// Makes a table of a log of flows. Where nothing else gives labels ([`Labels::Unknown`]) the log's own count, if it has a
/// column of them; attacks whose kind these do not tell are of the family `unnamed`.
///
/// # Errors
/// [`DatasetError`]; a label that calls a flow an attack of no known kind is one, where `unnamed` is none.
pub fn log(
    config: &Config,
    file: &Path,
    labels: &Labels,
    unnamed: Option<&str>,
    mut table: Table,
) -> Result<Summary, DatasetError> {
    let log = FlowLog::read(file, &Meter::default())?;
    let source = Source {
        origin: name_of(file),
        group: name_of(file),
    };
    let speaks = log.labels.iter().any(|(label, _)| !label.is_empty());
    let own = match labels {
        Labels::Unknown if speaks => Some(Own::new(file, &log, unnamed)?),
        _ => None,
    };
    let mut summary = Summary {
        captures: 1,
        unread: log.left_out,
        ..Summary::default()
    };
    let mut unlabelled = 0;
    let replayed = reenact(config, &log.flows, |record| {
        let said = match labels {
            Labels::Benign => Some((Some(false), "benign")),
            Labels::Session(session) => session.label(record).map(|(attack, family)| (Some(attack), family)),
            _ => match &own {
                Some(own) => own.of(record).map(|family| (Some(family != "benign"), family)),
                None => Some((None, "unknown")),
            },
        };
        match said {
            Some((label, family)) => table.add(&source, label, family, record),
            None => unlabelled += 1,
        }
    });
    let FeatureSummary {
        packets,
        flow,
        features,
        ..
    } = replayed;
    summary.packets = packets;
    summary.unlabelled = unlabelled;
    summary.evictions = flow.flows + features.total();
    summary.families = table.finish()?;
    Ok(summary)
}

/// What a log itself says of its flows.
struct Own<'a> {
    flows: &'a [LoggedFlow],
    /// The family of each of its labels; none where it says neither benign nor attack.
    families: Vec<Option<&'a str>>,
    /// Flows of the same ends and protocol, by their beginning.
    same: HashMap<(Ends, u8), Vec<usize>>,
}

impl<'a> Own<'a> {
    fn new(file: &Path, log: &'a FlowLog, unnamed: Option<&'a str>) -> Result<Self, DatasetError> {
        let family = |(label, detail): &(String, String)| match judge(label, detail) {
            Said::Nothing => Ok(None),
            Said::Benign => Ok(Some("benign")),
            Said::Attack(kind) => match kind.or(unnamed) {
                Some(family) => Ok(Some(family)),
                None => Err(DatasetError::Kind {
                    path: file.to_owned(),
                    label: format!("{label} {detail}").trim().to_owned(),
                }),
            },
        };
        let mut same: HashMap<_, Vec<usize>> = HashMap::new();
        for (number, flow) in log.flows.iter().enumerate() {
            let [from, to] = flow.ends.map(|(ip, port)| (ip.into(), port));
            same.entry((ends(from, to), flow.proto)).or_default().push(number);
        }
        Ok(Self {
            flows: &log.flows,
            families: log.labels.iter().map(family).collect::<Result<_, _>>()?,
            same,
        })
    }

    /// The family of a record: of the flow between its ends that had begun the latest.
    fn of(&self, record: &FeatureRecord) -> Option<&'a str> {
        let ends = ends(
            (record.source.into(), record.source_port),
            (record.target.ip.into(), record.target.port),
        );
        let same = self.same.get(&(ends, record.target.proto))?;
        let begun = same.partition_point(|&number| self.flows[number].start_ns <= record.end.0);
        let flow = &self.flows[same[begun.saturating_sub(1)]];
        self.families[flow.label as usize]
    }
}

/// What a label says of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// Neither: traffic that nobody looked at, or no label.
    Nothing,
    Benign,
    /// Of this kind, where it is told.
    Attack(Option<&'static str>),
}

/// The words of the Stratosphere laboratory's logs (CTU-13, IoT-23 and later).
fn judge(label: &str, detail: &str) -> Said {
    let label = label.to_lowercase();
    let any = |text: &str, words: &[&str]| words.iter().any(|word| text.contains(word));
    if any(&label, &["background"]) {
        return Said::Nothing;
    }
    if any(&label, &["malicious", "malware", "botnet", "attack"]) {
        let words = format!("{label} {}", detail.to_lowercase());
        let alone = |word: &str| {
            words
                .split(|c: char| !(c.is_alphanumeric() || c == '&'))
                .any(|w| w == word)
        };
        let kind = if any(&words, &["scan"]) {
            Some("scan")
        } else if any(&words, &["ddos", "flood"]) {
            Some("flood")
        } else if any(&words, &["brute"]) {
            Some("brute_force")
        } else if any(&words, &["exfil"]) {
            Some("exfiltration")
        } else if ["c&c", "cc", "cnc", "c2"].into_iter().any(alone) || any(&words, &["heartbeat"]) {
            Some("c2")
        } else {
            None
        };
        return Said::Attack(kind);
    }
    if any(&label, &["benign", "normal"]) {
        return Said::Benign;
    }
    Said::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_known_logs_are_read() {
        for (label, detail, said) in [
            ("Benign", "Microsoft", Said::Benign),
            ("benign", "", Said::Benign),
            ("flow=From-Normal-V42-Grill", "", Said::Benign),
            ("Background", "", Said::Nothing),
            ("flow=To-Background-UDP-CVUT-DNS-Server", "", Said::Nothing),
            ("", "", Said::Nothing),
            ("flow=TCP-Established", "", Said::Nothing),
            ("Malicious", "External-Attack-to-Device", Said::Attack(None)),
            ("Malicious", "PartOfAHorizontalPortScan", Said::Attack(Some("scan"))),
            ("Malicious", "C&C-FileDownload", Said::Attack(Some("c2"))),
            ("Malicious", "CC", Said::Attack(Some("c2"))),
            ("Malicious", "success", Said::Attack(None)),
            ("Malicious", "DDoS", Said::Attack(Some("flood"))),
            ("flow=From-Botnet-V42-TCP-CC-HTTP", "", Said::Attack(Some("c2"))),
            ("flow=Malware-TCP", "", Said::Attack(None)),
        ] {
            assert_eq!(judge(label, detail), said, "{label} {detail}");
        }
    }
}
