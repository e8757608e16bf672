//! Every client against a provider that answers in the shapes its documentation shows.

mod asked;
#[expect(unreachable_pub, reason = "it stands as it would in `intel`")]
mod crowdsec;
mod example;
mod failures;
mod fuzz;
mod mapping;
mod secrets;
mod shapes;
mod tls;

use super::testing::{Script, Server};
use super::{IntelError, IntelSource, Reply, body};
use super::{abuseipdb, greynoise, ipqualityscore, otx, threatcrowd, virustotal};
use crate::config::{SourceConfig, SourcesConfig, Switch};
use crate::types::{Indicator, Secret, Severity, Timestamp};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A key nobody else has.
const CANARY: &str = "c4naryk3ythatmustnotbetold";
/// Whom the recorded hits are about.
const BAD: &str = "203.0.113.45";

/// A provider: how its answers are read, and what it answers.
struct Provider {
    name: &'static str,
    read: fn(&[u8], IpAddr, Timestamp) -> Result<Indicator, IntelError>,
    hit: &'static str,
    clean: &'static str,
    /// The status of an address it has never heard of, and its answer.
    unknown: (&'static str, &'static str),
    /// Whether that status means that, and not a wrong URL.
    knows_404: bool,
    ipv6: bool,
    /// Each field that is read of [`hit`](Self::hit) as a JSON pointer, and its name in an error.
    fields: &'static [(&'static str, &'static str)],
}

macro_rules! read {
    ($client:ident) => {
        |bytes, ip, now| Ok($client::indicator(&body::parse::<$client::Answer>(bytes)?, ip, now))
    };
}

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("../testdata/", $name, ".json"))
    };
}
use recorded;

const PROVIDERS: [Provider; 6] = [
    Provider {
        name: "virustotal",
        read: read!(virustotal),
        hit: recorded!("virustotal_hit"),
        clean: recorded!("virustotal_clean"),
        unknown: ("404 Not Found", recorded!("virustotal_not_found")),
        knows_404: true,
        ipv6: true,
        fields: &[
            ("/data", "data"),
            ("/data/attributes", "data.attributes"),
            (
                "/data/attributes/last_analysis_stats",
                "data.attributes.last_analysis_stats",
            ),
            (
                "/data/attributes/last_analysis_stats/harmless",
                "data.attributes.last_analysis_stats.harmless",
            ),
            (
                "/data/attributes/last_analysis_stats/malicious",
                "data.attributes.last_analysis_stats.malicious",
            ),
            (
                "/data/attributes/last_analysis_stats/suspicious",
                "data.attributes.last_analysis_stats.suspicious",
            ),
            (
                "/data/attributes/last_analysis_stats/undetected",
                "data.attributes.last_analysis_stats.undetected",
            ),
            (
                "/data/attributes/last_analysis_results",
                "data.attributes.last_analysis_results",
            ),
            (
                "/data/attributes/last_analysis_results/CRDF",
                "data.attributes.last_analysis_results",
            ),
            (
                "/data/attributes/last_analysis_results/CRDF/category",
                "data.attributes.last_analysis_results",
            ),
            (
                "/data/attributes/last_analysis_results/CRDF/result",
                "data.attributes.last_analysis_results",
            ),
            (
                "/data/attributes/last_analysis_date",
                "data.attributes.last_analysis_date",
            ),
            ("/data/attributes/reputation", "data.attributes.reputation"),
            ("/data/attributes/tags", "data.attributes.tags"),
            ("/data/attributes/tags/0", "data.attributes.tags[0]"),
        ],
    },
    Provider {
        name: "abuseipdb",
        read: read!(abuseipdb),
        hit: recorded!("abuseipdb_hit"),
        clean: recorded!("abuseipdb_clean"),
        unknown: ("200 OK", recorded!("abuseipdb_unknown")),
        knows_404: false,
        ipv6: true,
        fields: &[
            ("/data", "data"),
            ("/data/isWhitelisted", "data.isWhitelisted"),
            ("/data/abuseConfidenceScore", "data.abuseConfidenceScore"),
            ("/data/usageType", "data.usageType"),
            ("/data/isTor", "data.isTor"),
            ("/data/totalReports", "data.totalReports"),
            ("/data/numDistinctUsers", "data.numDistinctUsers"),
            ("/data/lastReportedAt", "data.lastReportedAt"),
            ("/data/reports", "data.reports"),
            ("/data/reports/3", "data.reports[3]"),
            ("/data/reports/3/reportedAt", "data.reports[3].reportedAt"),
            ("/data/reports/3/categories", "data.reports[3].categories"),
            ("/data/reports/3/categories/0", "data.reports[3].categories[0]"),
        ],
    },
    Provider {
        name: "otx",
        read: read!(otx),
        hit: recorded!("otx_hit"),
        clean: recorded!("otx_clean"),
        unknown: ("200 OK", recorded!("otx_unknown")),
        knows_404: false,
        ipv6: true,
        fields: &[
            ("/pulse_info", "pulse_info"),
            ("/pulse_info/count", "pulse_info.count"),
            ("/pulse_info/pulses", "pulse_info.pulses"),
            ("/pulse_info/pulses/1", "pulse_info.pulses[1]"),
            ("/pulse_info/pulses/1/name", "pulse_info.pulses[1].name"),
            ("/pulse_info/pulses/1/modified", "pulse_info.pulses[1].modified"),
            ("/pulse_info/pulses/1/created", "pulse_info.pulses[1].created"),
            ("/pulse_info/pulses/1/tags", "pulse_info.pulses[1].tags"),
            ("/pulse_info/pulses/1/tags/0", "pulse_info.pulses[1].tags[0]"),
            (
                "/pulse_info/pulses/1/malware_families",
                "pulse_info.pulses[1].malware_families",
            ),
            (
                "/pulse_info/pulses/1/malware_families/0/display_name",
                "pulse_info.pulses[1].malware_families[0].display_name",
            ),
            ("/pulse_info/pulses/1/author", "pulse_info.pulses[1].author"),
            (
                "/pulse_info/pulses/1/author/username",
                "pulse_info.pulses[1].author.username",
            ),
            ("/validation", "validation"),
        ],
    },
    Provider {
        name: "ipqualityscore",
        read: read!(ipqualityscore),
        hit: recorded!("ipqualityscore_hit"),
        clean: recorded!("ipqualityscore_clean"),
        unknown: ("200 OK", recorded!("ipqualityscore_clean")),
        knows_404: false,
        ipv6: true,
        fields: &[
            ("/success", "success"),
            ("/message", "message"),
            ("/fraud_score", "fraud_score"),
            ("/proxy", "proxy"),
            ("/vpn", "vpn"),
            ("/tor", "tor"),
            ("/recent_abuse", "recent_abuse"),
            ("/bot_status", "bot_status"),
            ("/is_crawler", "is_crawler"),
            ("/abuse_velocity", "abuse_velocity"),
            ("/connection_type", "connection_type"),
        ],
    },
    Provider {
        name: "greynoise",
        read: read!(greynoise),
        hit: recorded!("greynoise_hit"),
        clean: recorded!("greynoise_clean"),
        unknown: ("404 Not Found", recorded!("greynoise_not_found")),
        knows_404: true,
        ipv6: false,
        fields: &[
            ("/noise", "noise"),
            ("/riot", "riot"),
            ("/classification", "classification"),
            ("/name", "name"),
            ("/last_seen", "last_seen"),
        ],
    },
    Provider {
        name: "threatcrowd",
        read: read!(threatcrowd),
        hit: recorded!("threatcrowd_hit"),
        clean: recorded!("threatcrowd_clean"),
        unknown: ("200 OK", recorded!("threatcrowd_unknown")),
        knows_404: false,
        ipv6: true,
        fields: &[
            ("/response_code", "response_code"),
            ("/votes", "votes"),
            ("/resolutions", "resolutions"),
            ("/resolutions/1", "resolutions[1]"),
            ("/resolutions/1/last_resolved", "resolutions[1].last_resolved"),
            ("/hashes", "hashes"),
            ("/hashes/0", "hashes[0]"),
        ],
    },
];

fn provider(name: &str) -> &'static Provider {
    PROVIDERS.iter().find(|p| p.name == name).unwrap()
}

/// The source's settings, all others off. The timeout is long: two cores may be busy.
fn sources(name: &str, url: &str, key: Option<&str>) -> SourcesConfig {
    let mut all = SourcesConfig::default();
    for (other, _) in SourcesConfig::default().each() {
        source(&mut all, other).enabled = Switch::Off;
    }
    let source = source(&mut all, name);
    source.enabled = Switch::On;
    url.clone_into(&mut source.url);
    source.key = key.map(Secret::new);
    source.timeout = Duration::from_secs(20);
    all
}

fn source<'a>(all: &'a mut SourcesConfig, name: &str) -> &'a mut SourceConfig {
    all.named(name).unwrap()
}

/// The client as the agent makes it.
fn client(config: &SourcesConfig) -> Arc<dyn IntelSource> {
    let mut made = super::clients(config);
    assert_eq!(made.len(), 1);
    made.remove(0).0
}

async fn ask(url: &str, name: &str, ip: &str) -> Result<Reply, IntelError> {
    let client = client(&sources(name, url, Some(CANARY)));
    client.ask(ip.parse().unwrap(), Severity::High).await
}

/// What becomes of a question that is answered so, and the provider.
async fn told(name: &str, script: Script) -> (Result<Reply, IntelError>, Server) {
    let server = Server::start(script).await;
    (ask(&server.url, name, BAD).await, server)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
