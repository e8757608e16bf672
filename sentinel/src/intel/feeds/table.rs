//! The feeds that are built in, one row each: where they are, how they are written, what being on them says.

use super::parse::Format;
use crate::config::LAPI_FEED;
use crate::types::IntelVerdict;
use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// A local API that is not reached: its bans end then, as CrowdSec's own do by default.
const HOLD_LAPI: Duration = Duration::from_hours(4);

/// Whether the kernel may drop by a feed's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// It is made for that.
    Made,
    /// It names no attackers: dropping by it is a policy, and the operator's to choose. The text says what it means.
    Policy(&'static str),
    /// It is made for that, from this many lists on.
    FromLevel(u8),
}

/// What is fixed about a feed.
#[derive(Clone, Debug, PartialEq)]
pub struct Feed {
    /// Its name in configuration, status and indicators.
    pub name: Cow<'static, str>,
    /// Where it is.
    pub url: Cow<'static, str>,
    /// How it is written.
    pub format: Format,
    /// Shortest time between two requests.
    pub interval: Duration,
    /// How long a list counts after its provider last confirmed it.
    pub hold: Duration,
    /// What being on it says, in a word.
    pub verdict: IntelVerdict,
    /// How bad that is, 0 to 1.
    pub score: f64,
    /// How much it has to go by, 0 to 1.
    pub confidence: f64,
    /// What its entries are known for.
    pub categories: &'static [&'static str],
    /// Feeds of one group draw from the same wells: FireHOL's first level is made of Spamhaus DROP, Feodo and others.
    pub group: &'static str,
    /// Whether the kernel may drop by it.
    pub blocking: Blocking,
    /// It holds reserved space on purpose (FireHOL's includes all of "fullbogons"), which is left out.
    pub bogons: bool,
    /// It may well be empty; an empty list then has to say itself that it is whole.
    pub may_be_empty: bool,
    /// It is a file of the operator's: private space, sudden changes and an empty list are meant.
    pub own: bool,
    /// The provider's terms, in a sentence.
    pub terms: &'static str,
    /// Where the provider documents it.
    pub docs: &'static str,
}

const fn feed(name: &'static str, url: &'static str, format: Format, interval: Duration) -> Feed {
    Feed {
        name: Cow::Borrowed(name),
        url: Cow::Borrowed(url),
        format,
        interval,
        hold: Duration::from_hours(7 * 24),
        verdict: IntelVerdict::Malicious,
        score: 0.9,
        confidence: 0.8,
        categories: &[],
        group: "",
        blocking: Blocking::Made,
        bogons: false,
        may_be_empty: false,
        own: false,
        terms: "",
        docs: "",
    }
}

const DROP_TERMS: &str =
    "Free for all, commercial use included; once a day at most; keep date and copyright when passing it on.";
const DROP_DOCS: &str = "https://www.spamhaus.org/blocklists/do-not-route-or-peer/";

/// The built-in feeds, in the order of [`crate::config::FEED_NAMES`].
pub static FEEDS: LazyLock<[Feed; 9]> = LazyLock::new(|| {
    [
        Feed {
            score: 0.97,
            confidence: 0.95,
            categories: &["hijacked or criminal network"],
            group: "drop",
            terms: DROP_TERMS,
            docs: DROP_DOCS,
            ..feed(
                "spamhaus_drop",
                "https://www.spamhaus.org/drop/drop_v4.json",
                Format::Spamhaus,
                DAY,
            )
        },
        Feed {
            score: 0.97,
            confidence: 0.95,
            categories: &["hijacked or criminal network"],
            group: "drop",
            terms: DROP_TERMS,
            docs: DROP_DOCS,
            ..feed(
                "spamhaus_dropv6",
                "https://www.spamhaus.org/drop/drop_v6.json",
                Format::Spamhaus,
                DAY,
            )
        },
        Feed {
            score: 0.93,
            confidence: 0.85,
            categories: &["attacker"],
            group: "drop",
            bogons: true,
            terms: "An aggregate; each part keeps its own maintainer's terms.",
            docs: "https://iplists.firehol.org/?ipset=firehol_level1",
            ..feed(
                "firehol_level1",
                "https://raw.githubusercontent.com/firehol/blocklist-ipsets/master/firehol_level1.netset",
                Format::Plain,
                HOUR,
            )
        },
        Feed {
            score: 0.95,
            confidence: 0.9,
            categories: &["botnet command and control"],
            group: "drop",
            may_be_empty: true,
            terms: "CC0, for any use.",
            docs: "https://feodotracker.abuse.ch/blocklist/",
            ..feed(
                "feodo",
                "https://feodotracker.abuse.ch/downloads/ipblocklist_recommended.txt",
                Format::Feodo,
                HOUR,
            )
        },
        Feed {
            score: 0.85,
            confidence: 0.7,
            categories: &["attacker", "brute force"],
            group: "blocklist_de",
            terms: "Free; reports of the last 48 hours, made anew every half hour.",
            docs: "https://www.blocklist.de/en/export.html",
            ..feed(
                "blocklist_de",
                "https://lists.blocklist.de/lists/all.txt",
                Format::Plain,
                HOUR,
            )
        },
        Feed {
            score: 0.8,
            confidence: 0.6,
            categories: &["attacker"],
            group: "cins",
            terms: "Free for any use; the worst part of Sentinel IPS's own scores.",
            docs: "https://cinsscore.com/#list",
            ..feed("cins", "https://cinsscore.com/list/ci-badguys.txt", Format::Plain, HOUR)
        },
        Feed {
            score: 0.85,
            confidence: 0.7,
            categories: &["compromised host"],
            group: "emerging_threats",
            terms: "Open rule set, BSD licence.",
            docs: "https://rules.emergingthreats.net/OPEN_download_instructions.html",
            ..feed(
                "emerging_threats",
                "https://rules.emergingthreats.net/blockrules/compromised-ips.txt",
                Format::Plain,
                DAY,
            )
        },
        Feed {
            verdict: IntelVerdict::Suspicious,
            score: 0.6,
            confidence: 0.9,
            categories: &["tor exit"],
            group: "tor",
            hold: Duration::from_hours(2 * 24),
            blocking: Blocking::Policy(
                "exits of Tor carry whoever uses Tor, most of them no attackers: dropping them all is a policy",
            ),
            terms: "Free for any use; made anew about every hour.",
            docs: "https://check.torproject.org/api/bulk",
            ..feed(
                "tor_exits",
                "https://check.torproject.org/torbulkexitlist",
                Format::Plain,
                HOUR,
            )
        },
        Feed {
            score: 0.95,
            confidence: 0.8,
            categories: &["on other lists"],
            group: "ipsum",
            blocking: Blocking::FromLevel(3),
            terms: "Unlicense; made anew once a day from more than 30 lists.",
            docs: "https://github.com/stamparm/ipsum",
            ..feed(
                "ipsum",
                "https://raw.githubusercontent.com/stamparm/ipsum/master/ipsum.txt",
                Format::Ipsum,
                DAY,
            )
        },
    ]
});

impl Feed {
    /// The built-in feed of a name.
    pub fn built_in(name: &str) -> Option<Self> {
        FEEDS.iter().find(|feed| feed.name == name).cloned()
    }

    /// A list of the operator's own, plain addresses and prefixes: a file of this machine, or fetched from `url`.
    pub(super) fn custom(name: &str, url: Option<&str>) -> Self {
        Self {
            name: Cow::Owned(name.to_owned()),
            url: Cow::Owned(url.unwrap_or_default().to_owned()),
            interval: if url.is_some() { HOUR } else { Duration::from_mins(1) },
            categories: &["on a list of one's own"],
            group: "own",
            own: url.is_none(),
            terms: "Your own.",
            ..feed("", "", Format::Plain, HOUR)
        }
    }

    /// Whether its entries were decided on one by one: what must not be touched is left out, and tells nothing against the
    /// others.
    pub(super) fn is_one_by_one(&self) -> bool {
        self.name == LAPI_FEED
    }

    /// The bans of a local API of CrowdSec.
    pub(super) fn lapi(name: &'static str, url: &str, interval: Duration) -> Self {
        Self {
            name: Cow::Borrowed(name),
            url: Cow::Owned(url.to_owned()),
            interval,
            hold: HOLD_LAPI,
            categories: &["banned by CrowdSec"],
            group: "own",
            own: true,
            terms: "Your own.",
            ..feed("", "", Format::Plain, HOUR)
        }
    }

    /// Verdict, score and confidence of an entry that is on `level` lists; 0 where the feed does not count them.
    ///
    /// One list of ipsum's is a suspicion; each further one takes away two fifths of what is left to certainty.
    pub fn says(&self, level: u8) -> (IntelVerdict, f64, f64) {
        if level == 0 {
            return (self.verdict, self.score, self.confidence);
        }
        let doubt = 0.6f64.powi(i32::from(level.min(32)));
        let score = 0.5 + (self.score - 0.5) * (1.0 - doubt);
        let verdict = if level >= 3 {
            self.verdict
        } else {
            IntelVerdict::Suspicious
        };
        (verdict, score, self.confidence * (1.0 - doubt))
    }

    /// The lowest level the kernel drops by.
    pub(super) const fn block_level(&self) -> u8 {
        match self.blocking {
            Blocking::FromLevel(level) => level,
            Blocking::Made | Blocking::Policy(_) => 0,
        }
    }

    /// What an operator should know who blocks by it.
    pub(super) fn note(&self) -> Option<String> {
        match self.blocking {
            Blocking::Made => None,
            Blocking::Policy(text) => Some(text.to_owned()),
            Blocking::FromLevel(level) => Some(format!("only what is on {level} lists or more")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FEED_NAMES;

    #[test]
    fn every_name_of_the_configuration_is_a_feed_with_all_that_must_be_known() {
        let names: Vec<_> = FEEDS.iter().map(|feed| feed.name.as_ref()).collect();
        assert_eq!(names, FEED_NAMES);
        for feed in FEEDS.iter() {
            let name = &feed.name;
            assert!(
                feed.url.starts_with("https://") && feed.docs.starts_with("https://"),
                "{name}"
            );
            assert!(
                feed.interval >= HOUR && feed.hold > 2 * feed.interval.min(DAY),
                "{name}"
            );
            assert!(
                !feed.terms.is_empty() && !feed.group.is_empty() && !feed.categories.is_empty(),
                "{name}"
            );
            assert!(feed.score > 0.5 && feed.score < 1.0 && feed.confidence < 1.0, "{name}");
        }
        let daily = |name| Feed::built_in(name).unwrap().interval;
        assert_eq!((daily("spamhaus_drop"), daily("spamhaus_dropv6")), (DAY, DAY));
        let group = |name| Feed::built_in(name).unwrap().group;
        assert_eq!(group("firehol_level1"), group("spamhaus_drop"));
        assert_eq!(group("firehol_level1"), group("feodo"));
    }

    #[test]
    fn more_lists_say_more() {
        let ipsum = Feed::built_in("ipsum").unwrap();
        let said: Vec<_> = [1, 2, 3, 8, 255].map(|level| ipsum.says(level)).into();
        assert!(
            said.windows(2)
                .all(|pair| pair[0].1 < pair[1].1 && pair[0].2 < pair[1].2)
        );
        assert_eq!(
            (said[1].0, said[2].0),
            (IntelVerdict::Suspicious, IntelVerdict::Malicious)
        );
        assert!(said[4].1 < 0.96 && said[0].1 > 0.6);
    }
}
