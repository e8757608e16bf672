//! How the values of channels are read and shown.

use super::super::hosts;
use super::super::value::{Fault, fault, quote};
use super::super::words::{Choice, Word};
use super::{Facility, HeaderLine, Host, MailSecurity, Mailbox, SyslogAddress, SyslogFormat, WebUrl};
use crate::types::Secret;
use std::net::SocketAddr;

impl Choice for MailSecurity {
    const WORDS: &'static [(&'static str, Self)] =
        &[("starttls", Self::StartTls), ("tls", Self::Tls), ("none", Self::None)];
}

impl Choice for SyslogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("rfc5424", Self::Rfc5424), ("cef", Self::Cef)];
}

pub(super) const LOCAL0: u8 = 16;

/// Those a daemon may use, with their numbers.
impl Choice for Facility {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("daemon", Self(3)),
        ("auth", Self(4)),
        ("authpriv", Self(10)),
        ("local0", Self(LOCAL0)),
        ("local1", Self(17)),
        ("local2", Self(18)),
        ("local3", Self(19)),
        ("local4", Self(20)),
        ("local5", Self(21)),
        ("local6", Self(22)),
        ("local7", Self(23)),
    ];
}

impl Word for Host {
    fn wants() -> String {
        "the name or the address of a server".to_owned()
    }

    fn read(text: &str) -> Result<Self, Fault> {
        hosts::host(text).map(Self).map_err(|fault| Fault {
            mend: "write it without scheme and port, such as `mail.example.org`; the port has a key of its own"
                .to_owned(),
            ..fault
        })
    }

    fn show(&self, _: &str) -> String {
        self.0.clone()
    }
}

impl Word for Mailbox {
    fn wants() -> String {
        "an address such as `soc@example.org` or `Sentinel <soc@example.org>`".to_owned()
    }

    fn read(text: &str) -> Result<Self, Fault> {
        let address = match text.split_once('<') {
            Some((_, rest)) => rest.strip_suffix('>'),
            None => Some(text),
        };
        let good = address
            .and_then(|address| address.rsplit_once('@'))
            .is_some_and(|(user, host)| {
                let plain = |c: char| c.is_ascii_graphic() && !"<>()[]\\,;:\"@".contains(c);
                !user.is_empty() && user.len() <= 64 && user.chars().all(plain) && hosts::host(host).is_ok()
            });
        if good && text.len() <= 320 && !text.chars().any(char::is_control) {
            return Ok(Self(text.to_owned()));
        }
        Err(fault(
            format!("{} is not the address of a mailbox", quote(text)),
            format!("write {}", Self::wants()),
        ))
    }

    fn show(&self, _: &str) -> String {
        self.0.clone()
    }
}

impl Word for SyslogAddress {
    fn wants() -> String {
        "`unix:///dev/log`, or a server such as `udp://192.0.2.9:514`, `tcp://…:601` or `tls://…:6514`".to_owned()
    }

    fn read(text: &str) -> Result<Self, Fault> {
        let wrong = || {
            fault(
                format!("{} is no place for syslog", quote(text)),
                format!("write {}", Self::wants()),
            )
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        if scheme == "unix" {
            let path = rest.starts_with('/') && !rest.contains('\0');
            return path.then(|| Self::Unix(rest.into())).ok_or_else(wrong);
        }
        let (host, port) = if let Ok(socket) = rest.parse::<SocketAddr>() {
            (socket.ip().to_string(), socket.port())
        } else {
            let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
            (
                hosts::host(host).map_err(|_| wrong())?,
                port.parse().map_err(|_| wrong())?,
            )
        };
        match scheme {
            _ if port == 0 => Err(wrong()),
            "udp" => Ok(Self::Udp(host, port)),
            "tcp" => Ok(Self::Tcp(host, port)),
            "tls" => Ok(Self::Tls(host, port)),
            _ => Err(wrong()),
        }
    }

    fn show(&self, _: &str) -> String {
        let server = |scheme: &str, host: &str, port: u16| {
            if host.contains(':') {
                format!("{scheme}://[{host}]:{port}")
            } else {
                format!("{scheme}://{host}:{port}")
            }
        };
        match self {
            Self::Unix(path) => format!("unix://{}", path.display()),
            Self::Udp(host, port) => server("udp", host, *port),
            Self::Tcp(host, port) => server("tcp", host, *port),
            Self::Tls(host, port) => server("tls", host, *port),
        }
    }
}

/// A URL of HTTP as text, or what is wrong without repeating it.
pub(in crate::config) fn web_url(text: &str) -> Result<Secret, Fault> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':', '?', '#']));
    if host && text.len() <= 2048 && text.chars().all(|c| c.is_ascii_graphic()) && !text.contains(['"', '<', '>', '\\'])
    {
        return Ok(Secret::new(text));
    }
    Err(fault(
        "is not the URL of a webhook",
        "write all of it, such as `https://hooks.example.com/services/…`",
    ))
}

impl Word for WebUrl {
    fn wants() -> String {
        "a URL such as `https://hooks.example.com/alerts`".to_owned()
    }

    fn read(text: &str) -> Result<Self, Fault> {
        web_url(text).map(Self)
    }

    fn show(&self, mask: &str) -> String {
        mask.to_owned()
    }
}

/// Headers that are set already.
const OWN: [&str; 5] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
];

impl Word for HeaderLine {
    fn wants() -> String {
        "`Name: value`".to_owned()
    }

    fn read(text: &str) -> Result<Self, Fault> {
        let wrong = || {
            fault(
                "is no header",
                "write `Name: value` in quotes, such as `\"X-Team: blue\"`",
            )
        };
        let (name, value) = text.split_once(':').ok_or_else(wrong)?;
        let (name, value) = (name.trim(), value.trim());
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let visible = |c: char| c.is_ascii_graphic() || c == ' ';
        if name.is_empty() || !name.chars().all(token) || !value.chars().all(visible) || text.len() > 1024 {
            return Err(wrong());
        }
        let lower = name.to_ascii_lowercase();
        if OWN.contains(&lower.as_str()) || lower.starts_with("x-sentinel-") {
            return Err(fault(
                format!("sets {}, which is set already", quote(name)),
                "leave it out",
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            value: Secret::new(value),
        })
    }

    fn show(&self, mask: &str) -> String {
        format!("{}: {mask}", self.name)
    }
}

/// A name to log in with.
impl Word for String {
    fn wants() -> String {
        "a name".to_owned()
    }

    fn read(text: &str) -> Result<Self, Fault> {
        if text.len() > 256 || text.chars().any(char::is_control) {
            return Err(fault(format!("{} is no name", quote(text)), "write it in one line"));
        }
        Ok(text.to_owned())
    }

    fn show(&self, _: &str) -> String {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<T: Word>(text: &str) -> Option<String> {
        T::read(text).ok().map(|word| word.show("…"))
    }

    #[test]
    fn words_of_channels_are_read_and_shown() {
        for good in [
            "unix:///dev/log",
            "udp://192.0.2.9:514",
            "tcp://[2001:db8::1]:601",
            "tls://logs.example.org:6514",
        ] {
            assert_eq!(shown::<SyslogAddress>(good).as_deref(), Some(good));
        }
        for bad in [
            "",
            "/dev/log",
            "unix://dev/log",
            "udp://192.0.2.9",
            "udp://192.0.2.9:0",
            "http://a:1",
            "tcp://:1",
        ] {
            assert_eq!(shown::<SyslogAddress>(bad), None, "{bad}");
        }
        for good in ["soc@example.org", "Sentinel <soc@example.org>", "root@localhost"] {
            assert_eq!(shown::<Mailbox>(good).as_deref(), Some(good));
        }
        for bad in [
            "",
            "soc",
            "soc@",
            "@example.org",
            "a b@example.org",
            "a@b\r\nBcc: c@d",
            "A <a@b",
            "a@b>, <c@d",
        ] {
            assert_eq!(shown::<Mailbox>(bad), None, "{bad}");
        }
        assert_eq!(shown::<HeaderLine>("X-Key: hunter2").as_deref(), Some("X-Key: …"));
        for bad in [
            "",
            "X-Key",
            ": x",
            "X Key: y",
            "X: a\r\nY: b",
            "Host: x",
            "X-Sentinel-Signature: y",
        ] {
            assert_eq!(shown::<HeaderLine>(bad), None, "{bad}");
        }
        assert_eq!(
            shown::<WebUrl>("https://hooks.example.com/T0/secret").as_deref(),
            Some("…")
        );
        for bad in ["", "ftp://a", "https://", "https:///x", "https://a b", "//a"] {
            assert_eq!(shown::<WebUrl>(bad), None, "{bad}");
        }
        assert_eq!(super::super::subject().to_string(), "[Sentinel] {title}");
    }
}
