//! What must answer for a decision about a prefix to be confirmed.

use super::url::base_url;
use super::value::{Fault, fault, quote};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What a list of probes looks like.
pub(super) const LIST: &str = "a list such as `[tcp://192.0.2.7:5432, \"https://example.com/health\"]`";
/// How many are asked at most.
pub const PROBES_MAX: usize = 8;
/// Longest name of a host (RFC 1035, 2.3.4).
const HOST: usize = 253;

/// Somebody who must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// As the file has it: `tcp://HOST:PORT`, `http://…` or `https://…`.
    pub text: String,
    /// How it is asked.
    pub how: ProbeKind,
}

/// How somebody is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// A TCP connection is opened and closed again.
    Tcp {
        /// Name, or address without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// A GET of the URL in `text` is answered with a status below 500.
    Http,
}

/// One probe.
pub(super) fn probe(text: &str) -> Result<Probe, Fault> {
    let wrong = || {
        fault(
            format!("{} is no probe", quote(text)),
            "write `tcp://HOST:PORT`, or `http://…` or `https://…` without a query; keys have no place here",
        )
    };
    let how = match text.strip_prefix("tcp://") {
        Some(place) => tcp(place).ok_or_else(wrong)?,
        None => base_url(text).map(|_| ProbeKind::Http).map_err(|_| wrong())?,
    };
    Ok(Probe {
        text: text.to_owned(),
        how,
    })
}

fn tcp(place: &str) -> Option<ProbeKind> {
    let (host, port) = place.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    let host = if let Some(rest) = host.strip_prefix('[') {
        rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.to_string()
    } else {
        let letter = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let numbers = host.chars().all(|c| c.is_ascii_digit() || c == '.');
        let good = !host.is_empty() && host.len() <= HOST && host.chars().all(letter);
        (good && (!numbers || host.parse::<Ipv4Addr>().is_ok())).then(|| host.to_owned())?
    };
    Some(ProbeKind::Tcp { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_read_and_what_is_none_is_refused() {
        let tcp = |text: &str| match probe(text).map(|probe| probe.how) {
            Ok(ProbeKind::Tcp { host, port }) => Some((host, port)),
            _ => None,
        };
        assert_eq!(tcp("tcp://192.0.2.7:22"), Some(("192.0.2.7".into(), 22)));
        assert_eq!(tcp("tcp://[2001:db8::7]:443"), Some(("2001:db8::7".into(), 443)));
        assert_eq!(tcp("tcp://db.example.com:5432"), Some(("db.example.com".into(), 5432)));
        for url in ["http://192.0.2.7/health", "https://example.com:8443/a/b"] {
            assert_eq!(
                probe(url).ok().map(|p| (p.text, p.how)),
                Some((url.to_owned(), ProbeKind::Http))
            );
        }
        for bad in [
            "",
            "192.0.2.7:22",
            "udp://192.0.2.7:53",
            "tcp://192.0.2.7",
            "tcp://192.0.2.7:0",
            "tcp://192.0.2.7:65536",
            "tcp://192.0.2:22",
            "tcp://:22",
            "tcp://2001:db8::7:22",
            "tcp://[2001:db8::7:22",
            "tcp://user@host:22",
            "tcp://a b:22",
            "http://",
            "https://user:secret@example.com/",
            "https://example.com/?key=secret",
            "http://example.com/\n",
        ] {
            assert!(probe(bad).is_err(), "{bad}");
        }
    }
}
