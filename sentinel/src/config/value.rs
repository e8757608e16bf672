//! Text into durations, sizes, prefixes and the rest, within bounds; and back.

use super::containers;
use super::decoy::{DECOY4, DECOY6, decoy};
use super::export::TextKind;
use super::hosts;
use super::intel::{CacheBackend, CustomFeed};
use super::probe::{self, Probe};
use super::resolved::{Decoy, Hook, Mode, Switch};
use super::tree::Value;
use super::url::{FEED, base_url, cache, custom_feed, feed_name};
use super::words::Words;
use crate::types::ActionKind;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// A place in the configuration that a value goes to, with the bounds it must keep.
pub(super) enum Slot<'a> {
    /// `true` or `false`.
    Bool(&'a mut bool),
    /// A whole number.
    U8(&'a mut u8, RangeInclusive<u64>),
    /// A whole number.
    U32(&'a mut u32, RangeInclusive<u64>),
    /// A whole number.
    Usize(&'a mut usize, RangeInclusive<u64>),
    /// A number.
    Real(&'a mut f64, RangeInclusive<f64>),
    /// A size in bytes.
    Size32(&'a mut u32, RangeInclusive<u64>),
    /// A size in bytes.
    Size64(&'a mut u64, RangeInclusive<u64>),
    /// A duration.
    Time(&'a mut Duration, RangeInclusive<Duration>),
    /// A duration kept in ms.
    Millis(&'a mut u32, RangeInclusive<Duration>),
    /// Address (or not) and port of a decoy.
    Decoy4(&'a mut Option<Decoy<Ipv4Addr>>),
    /// Address (or not) and port of a decoy.
    Decoy6(&'a mut Option<Decoy<Ipv6Addr>>),
    /// `simulation` or `production`.
    Mode(&'a mut Mode),
    /// `xdp`, `auto` or `tc`.
    Hook(&'a mut Hook),
    /// A cell of the decision matrix.
    Action(&'a mut ActionKind),
    /// A path.
    Path(&'a mut PathBuf),
    /// Address and port.
    Listen(&'a mut SocketAddr),
    /// Addresses and prefixes.
    Prefixes(&'a mut Vec<IpNet>),
    /// `auto` or a list of interface names.
    Interfaces(&'a mut Vec<String>),
    /// TCP ports.
    Ports(&'a mut Vec<u16>),
    /// `all` (an empty list) or TCP ports.
    AllOrPorts(&'a mut Vec<u16>),
    /// `auto`, `true` or `false`.
    Switch(&'a mut Switch),
    /// The path of a file, or nothing.
    File(&'a mut Option<PathBuf>),
    /// `unix:///PATH`, or nothing.
    Socket(&'a mut Option<PathBuf>),
    /// Name of a container network, or nothing.
    Network(&'a mut Option<String>),
    /// Names and labels of containers.
    Containers(&'a mut Vec<String>),
    /// Names and addresses of hosts.
    Hosts(&'a mut Vec<String>),
    /// Scheme, host and port.
    Url(&'a mut String),
    /// `memory` or the URL of a Redis.
    Cache(&'a mut CacheBackend),
    /// Who must answer.
    Probes(&'a mut Vec<Probe>),
    /// A text of a kind.
    Text(&'a mut String, &'static TextKind),
    /// Some of these names.
    Names(&'a mut Vec<String>, &'static [&'static str]),
    /// Names of feeds, built in or one's own.
    FeedNames(&'a mut Vec<String>),
    /// One's own feeds.
    Feeds(&'a mut Vec<CustomFeed>),
    /// What no other section has.
    Words(&'a mut dyn Words),
}

/// What is wrong with a value, and the mend.
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) mend: String,
}

pub(super) fn fault(message: impl Into<String>, mend: impl Into<String>) -> Fault {
    Fault {
        message: message.into(),
        mend: mend.into(),
    }
}

/// Text made fit for a message: bounded, control characters escaped, without the name and password of a URL.
pub(super) fn quote(text: &str) -> String {
    let url = text.split_once("://").zip(text.rsplit_once('@'));
    let masked = url.map(|((scheme, _), (_, host))| format!("{scheme}://***@{host}"));
    let text = masked.as_deref().unwrap_or(text);
    let mut out: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        out.push('…');
    }
    format!("`{out}`")
}

impl Slot<'_> {
    /// Whether it takes several values.
    pub(super) fn is_list(&self) -> bool {
        if let Self::Words(to) = self {
            return to.is_list();
        }
        matches!(
            self,
            Self::Prefixes(_)
                | Self::Interfaces(_)
                | Self::Ports(_)
                | Self::AllOrPorts(_)
                | Self::Names(..)
                | Self::FeedNames(_)
                | Self::Feeds(_)
                | Self::Containers(_)
                | Self::Probes(_)
                | Self::Hosts(_)
        )
    }

    /// Puts a value in, or says what is wrong with each of its parts (index of the part, fault).
    pub(super) fn fill(&mut self, value: &Value) -> Result<(), Vec<(Option<usize>, Fault)>> {
        match value {
            Value::Null => Err(vec![(
                None,
                fault(
                    "has no value",
                    format!("give it {}, or remove the key for the default", self.wants()),
                ),
            )]),
            Value::Map(_) => Err(vec![(
                None,
                fault(
                    "is a section where a value belongs",
                    format!("give it {}", self.wants()),
                ),
            )]),
            Value::Text(text) => self.fill_text(text).map_err(|f| vec![(None, f)]),
            Value::List(items) if self.is_list() => {
                let mut texts = Vec::new();
                let mut faults = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    match &item.value {
                        Value::Text(text) => texts.push((index, text.as_str())),
                        other => faults.push((
                            Some(index),
                            fault(
                                format!("holds {} where an item belongs", other.kind()),
                                format!("give it {}", self.wants()),
                            ),
                        )),
                    }
                }
                self.fill_list(&texts, &mut faults);
                if faults.is_empty() { Ok(()) } else { Err(faults) }
            }
            Value::List(_) => Err(vec![(
                None,
                fault(
                    "is a list where a single value belongs",
                    format!("give it {}", self.wants()),
                ),
            )]),
        }
    }

    /// Puts in what an environment variable holds: lists are separated by commas, brackets are optional.
    pub(super) fn fill_env(&mut self, text: &str) -> Result<(), Vec<(Option<usize>, Fault)>> {
        let word = match self {
            Self::Interfaces(_) => Some("auto"),
            Self::AllOrPorts(_) => Some("all"),
            Self::Words(to) => to.word(),
            _ => None,
        };
        if !self.is_list() || word == Some(text.trim()) {
            return self.fill_text(text.trim()).map_err(|f| vec![(None, f)]);
        }
        let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
        let items: Vec<_> = inner
            .split(',')
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .enumerate()
            .collect();
        let mut faults = Vec::new();
        self.fill_list(&items, &mut faults);
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn fill_text(&mut self, text: &str) -> Result<(), Fault> {
        let wrong = |wants: String| fault(format!("{} is not {wants}", quote(text)), format!("write {wants}"));
        match self {
            Self::Bool(to) => match text {
                "true" => **to = true,
                "false" => **to = false,
                _ => return Err(wrong("`true` or `false`".into())),
            },
            Self::U8(to, range) => **to = whole(text, range)? as u8,
            Self::U32(to, range) => **to = whole(text, range)? as u32,
            Self::Usize(to, range) => **to = whole(text, range)? as usize,
            Self::Size32(to, range) => **to = size(text, range)? as u32,
            Self::Size64(to, range) => **to = size(text, range)?,
            Self::Real(to, range) => {
                let wants = format!("a number from {} to {}", range.start(), range.end());
                match text.parse::<f64>() {
                    Ok(number) if range.contains(&number) => **to = number,
                    _ => return Err(wrong(wants)),
                }
            }
            Self::Time(to, range) => **to = time(text, range)?,
            Self::Millis(to, range) => {
                let time = time(text, range)?;
                let whole = u32::try_from(time.as_millis()).ok();
                **to = whole
                    .filter(|ms| Duration::from_millis((*ms).into()) == time)
                    .ok_or_else(|| fault(format!("{} is not whole milliseconds", quote(text)), "round it"))?;
            }
            Self::Decoy4(to) => {
                **to = decoy(text, |text| text.parse().ok())?;
            }
            Self::Decoy6(to) => {
                **to = decoy(text, |text| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
            }
            Self::Mode(to) => {
                **to = choose(
                    text,
                    &[("simulation", Mode::Simulation), ("production", Mode::Production)],
                )?;
            }
            Self::Hook(to) => {
                **to = choose(text, &Hook::ALL.map(|hook| (hook.as_str(), hook)))?;
            }
            Self::Action(to) => **to = choose(text, &ActionKind::DECIDED.map(|kind| (kind.as_str(), kind)))?,
            Self::Path(to) => {
                if text.is_empty() || text.contains('\0') {
                    return Err(fault(
                        format!("{} is not a path", quote(text)),
                        "write the path of a file",
                    ));
                }
                **to = PathBuf::from(text);
            }
            Self::Listen(to) => {
                **to = text
                    .parse()
                    .map_err(|_| wrong("an address with a port, such as `127.0.0.1:8000` or `[::1]:8000`".into()))?;
            }
            Self::Interfaces(to) if text == "auto" => to.clear(),
            Self::Interfaces(_) => return Err(wrong("`auto` or a list of interfaces such as `[eth0, eth1]`".into())),
            Self::Prefixes(_) => return Err(wrong("a list such as `[192.0.2.7, 2001:db8::/48]`".into())),
            Self::Ports(_) => return Err(wrong("a list of ports such as `[22, 3389]`".into())),
            Self::AllOrPorts(to) if text == "all" => to.clear(),
            Self::AllOrPorts(_) => return Err(wrong("`all` or a list of ports such as `[80, 443]`".into())),
            Self::Switch(to) => match text {
                "auto" => **to = Switch::Auto,
                "true" => **to = Switch::On,
                "false" => **to = Switch::Off,
                _ => return Err(wrong("`auto`, `true` or `false`".into())),
            },
            Self::File(to) => {
                if text.contains('\0') {
                    return Err(wrong("the path of a file, or nothing".into()));
                }
                **to = (!text.is_empty()).then(|| PathBuf::from(text));
            }
            Self::Socket(to) => **to = containers::socket(text)?,
            Self::Network(to) => **to = containers::network(text)?,
            Self::Containers(_) => return Err(wrong(containers::LIST.into())),
            Self::Probes(_) => return Err(wrong(probe::LIST.into())),
            Self::Hosts(_) => return Err(wrong(hosts::LIST.into())),
            Self::Url(to) => **to = base_url(text)?,
            Self::Cache(to) => **to = cache(text)?,
            Self::Text(to, kind) => **to = kind.read(text)?,
            Self::Names(_, known) => return Err(wrong(format!("a list of some of {}", known.join(", ")))),
            Self::FeedNames(_) => return Err(wrong("a list of names of feeds such as `[spamhaus_drop]`".into())),
            Self::Words(to) => to.take(text)?,
            Self::Feeds(_) => return Err(fault("is no list", format!("write a list such as `[{FEED}]`"))),
        }
        Ok(())
    }

    fn fill_list(&mut self, items: &[(usize, &str)], faults: &mut Vec<(Option<usize>, Fault)>) {
        fn each<T: PartialEq>(
            items: &[(usize, &str)],
            to: &mut Vec<T>,
            faults: &mut Vec<(Option<usize>, Fault)>,
            parse: impl Fn(&str) -> Result<T, Fault>,
        ) {
            let mut out = Vec::with_capacity(items.len());
            for (index, text) in items {
                match parse(text) {
                    Ok(item) => out.push(item),
                    Err(fault) => faults.push((Some(*index), fault)),
                }
            }
            *to = out;
        }
        match self {
            Self::Prefixes(to) => each(items, to, faults, prefix),
            Self::Interfaces(to) => each(items, to, faults, interface),
            Self::AllOrPorts(_) if items.is_empty() => faults.push((
                None,
                fault("is an empty list", "write `all`, or name the ports such as `[80, 443]`"),
            )),
            Self::Names(to, known) => each(items, to, faults, |text| {
                let choices: Vec<_> = known.iter().map(|name| (*name, *name)).collect();
                choose(text, &choices).map(str::to_owned)
            }),
            Self::FeedNames(to) => each(items, to, faults, |text| feed_name(text).map(str::to_owned)),
            Self::Feeds(to) => each(items, to, faults, custom_feed),
            Self::Containers(to) => each(items, to, faults, containers::protected),
            Self::Probes(to) => each(items, to, faults, probe::probe),
            Self::Hosts(to) => each(items, to, faults, hosts::host),
            Self::Words(to) => to.take_list(items, faults),
            Self::Ports(to) | Self::AllOrPorts(to) => each(items, to, faults, |text| {
                whole(text, &(1..=65_535)).map(|port| port as u16)
            }),
            _ => {}
        }
    }

    /// What a value looks like, for messages.
    pub(super) fn wants(&self) -> String {
        match self {
            Self::Bool(_) => "`true` or `false`".into(),
            Self::U8(_, range) | Self::U32(_, range) | Self::Usize(_, range) => {
                format!("a whole number from {} to {}", range.start(), range.end())
            }
            Self::Real(_, range) => format!("a number from {} to {}", range.start(), range.end()),
            Self::Size32(_, range) | Self::Size64(_, range) => {
                format!(
                    "a size from {} to {}",
                    show_size(*range.start()),
                    show_size(*range.end())
                )
            }
            Self::Time(_, range) | Self::Millis(_, range) => {
                format!(
                    "a duration from {} to {}",
                    show_duration(*range.start()),
                    show_duration(*range.end())
                )
            }
            Self::Mode(_) => "`simulation` or `production`".into(),
            Self::Hook(_) => "`xdp`, `auto`, `tc` or `nftables`".into(),
            Self::Decoy4(_) => format!("{DECOY4}, or nothing for none"),
            Self::Decoy6(_) => format!("{DECOY6}, or nothing for none"),
            Self::Action(_) => ActionKind::DECIDED
                .map(|kind| format!("`{}`", kind.as_str()))
                .join(" or "),
            Self::Path(_) => "the path of a file".into(),
            Self::Listen(_) => "an address with a port".into(),
            Self::Prefixes(_) => "a list of addresses and prefixes".into(),
            Self::Interfaces(_) => "`auto` or a list of interface names".into(),
            Self::Ports(_) => "a list of ports from 1 to 65535".into(),
            Self::AllOrPorts(_) => "`all` or a list of ports from 1 to 65535".into(),
            Self::Switch(_) => "`auto`, `true` or `false`".into(),
            Self::File(_) => "the path of a file, or nothing for none".into(),
            Self::Socket(_) => "a socket such as `unix:///var/run/docker.sock`, or nothing for none".into(),
            Self::Network(_) => "the name of a container network, or nothing for none".into(),
            Self::Containers(_) => containers::LIST.into(),
            Self::Probes(_) => probe::LIST.into(),
            Self::Hosts(_) => hosts::LIST.into(),
            Self::Url(_) => "a URL such as `https://api.example.com`".into(),
            Self::Cache(_) => "`memory` or a URL such as `redis://127.0.0.1:6379/0`".into(),
            Self::Text(_, kind) => kind.wants.into(),
            Self::Names(_, known) => format!("a list of some of {}", known.join(", ")),
            Self::FeedNames(_) => "a list of names of feeds".into(),
            Self::Feeds(_) => format!("a list such as `[{FEED}]`"),
            Self::Words(to) => to.wants(),
        }
    }
}

fn choose<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, Fault> {
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<_> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
    let mend = match closest(text, choices.iter().map(|(name, _)| *name)) {
        Some(near) => format!("did you mean `{near}`? Known are {}", names.join(" and ")),
        None => format!("write {}", names.join(" or ")),
    };
    Err(fault(format!("{} is not known", quote(text)), mend))
}

/// The candidate that a mistyped word most likely meant.
pub(super) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn whole(text: &str, range: &RangeInclusive<u64>) -> Result<u64, Fault> {
    match text.replace('_', "").parse::<u64>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(fault(
            format!(
                "{} is not a whole number from {} to {}",
                quote(text),
                range.start(),
                range.end()
            ),
            format!("write a number from {} to {}", range.start(), range.end()),
        )),
    }
}

const SIZES: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// Reads `64KiB`, `1MiB`, `1500`.
///
/// # Errors
/// What is wrong, in words for people.
pub fn parse_size(text: &str) -> Result<u64, String> {
    size(text.trim(), &(0..=u64::MAX)).map_err(|fault| format!("{}; {}", fault.message, fault.mend))
}

fn size(text: &str, range: &RangeInclusive<u64>) -> Result<u64, Fault> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit.trim() {
        "" => Some(1),
        unit => SIZES.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor),
    };
    let bytes = digits
        .parse::<u64>()
        .ok()
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor));
    match bytes {
        Some(bytes) if range.contains(&bytes) => Ok(bytes),
        Some(_) => Err(fault(
            format!("{} is out of range", quote(text)),
            format!(
                "write a size from {} to {}",
                show_size(*range.start()),
                show_size(*range.end())
            ),
        )),
        None => Err(fault(
            format!("{} is not a size", quote(text)),
            "write a size such as `16KiB` or `64MiB`",
        )),
    }
}

/// Units of a duration and their nanoseconds.
const TIMES: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Reads `30s`, `4h`, `1d`, `100ms`, `1h30m`.
///
/// # Errors
/// What is wrong, in words for people; a bare number is refused because its unit would be a guess.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err("is empty where a duration belongs".into());
    }
    while !rest.is_empty() {
        let (digits, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let (unit, tail) = tail.split_at(tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len()));
        if unit.is_empty() && tail.is_empty() && !digits.is_empty() {
            return Err(format!("{} lacks a unit", quote(text)));
        }
        let nanos = digits
            .parse::<u64>()
            .ok()
            .zip(TIMES.iter().find(|(name, _)| *name == unit))
            .and_then(|(number, (_, factor))| number.checked_mul(*factor))
            .and_then(|nanos| total.checked_add(nanos));
        total = nanos.ok_or_else(|| format!("{} is not a duration", quote(text)))?;
        rest = tail;
    }
    Ok(Duration::from_nanos(total))
}

/// The shortest exact spelling in one unit.
pub(super) fn show_duration(time: Duration) -> String {
    let nanos = time.as_nanos() as u64;
    let (unit, factor) = TIMES
        .iter()
        .rev()
        .find(|(_, factor)| nanos.is_multiple_of(*factor))
        .unwrap_or(&TIMES[0]);
    if nanos == 0 {
        "0s".into()
    } else {
        format!("{}{unit}", nanos / factor)
    }
}

/// The shortest exact spelling in a binary unit.
pub(super) fn show_size(bytes: u64) -> String {
    let (unit, factor) = SIZES[..3]
        .iter()
        .rev()
        .find(|(_, factor)| bytes.is_multiple_of(*factor))
        .unwrap_or(&("B", 1));
    if bytes == 0 {
        "0".into()
    } else {
        format!("{}{unit}", bytes / factor)
    }
}

fn time(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, Fault> {
    let time =
        parse_duration(text).map_err(|why| fault(why, "write a duration such as `100ms`, `30s`, `4h` or `1d`"))?;
    if range.contains(&time) {
        return Ok(time);
    }
    let (low, high) = (show_duration(*range.start()), show_duration(*range.end()));
    Err(fault(
        format!("{} is out of range", quote(text)),
        format!("write a duration from {low} to {high}"),
    ))
}

fn prefix(text: &str) -> Result<IpNet, Fault> {
    let net = text
        .parse::<IpNet>()
        .or_else(|_| text.parse().map(|ip: IpAddr| IpNet::from(ip)))
        .map_err(|_| {
            fault(
                format!("{} is not an address or a prefix", quote(text)),
                "write an address such as `192.0.2.7` or a prefix such as `2001:db8::/48`",
            )
        })?;
    if net.trunc() != net {
        return Err(fault(
            format!("{net} has bits set to the right of its prefix"),
            format!("write `{}`, or `{}` for the one address", net.trunc(), net.addr()),
        ));
    }
    if let IpNet::V6(v6) = net
        && let Some(v4) = v6.addr().to_ipv4_mapped()
    {
        return Err(fault(
            format!("{net} is an IPv4 address in IPv6 dress"),
            format!("write `{v4}`"),
        ));
    }
    Ok(net)
}

fn interface(text: &str) -> Result<String, Fault> {
    let good = (1..16).contains(&text.len())
        && text != "."
        && text != ".."
        && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    if good {
        Ok(text.to_owned())
    } else {
        Err(fault(
            format!("{} is not the name of an interface", quote(text)),
            "write a name as `ip link` shows it, at most 15 characters",
        ))
    }
}
