//! Syslog (RFC 5424) over a local socket, UDP (RFC 5426), TCP (RFC 6587, 3.4.1) or TLS (RFC 5425); or CEF in it.

use super::{Channel, ChannelError};
use crate::config::{SyslogAddress, SyslogConfig, SyslogFormat};
use crate::notify::Letter;
use crate::types::{ChannelKind, Severity};
use futures_util::future::BoxFuture;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::ConfigVerifierExt;
use std::fmt::{self, Write as _};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The longest message every receiver takes (RFC 5424, 6.1, says 2,048 should be).
const LONGEST: usize = 2_048;
/// Our part of structured data, under the number for documentation and examples of nobody (RFC 5612 has 32473).
const SD_ID: &str = "sentinel@32473";

pub(super) struct Syslog {
    config: SyslogConfig,
    tls: Option<TlsConnector>,
    open: Mutex<Option<Line>>,
}

impl fmt::Debug for Syslog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Syslog")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// A connection that is kept from one message to the next.
enum Line {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Syslog {
    pub(super) fn new(config: &SyslogConfig) -> Result<Self, ChannelError> {
        let tls = match config.address {
            Some(SyslogAddress::Tls(..)) => Some(connector(config)?),
            _ => None,
        };
        Ok(Self {
            config: config.clone(),
            tls,
            open: Mutex::new(None),
        })
    }

    async fn send(&self, letter: &Letter) -> Result<(), ChannelError> {
        let line = message(letter, &self.config);
        match tokio::time::timeout(self.config.timeout, self.write(line.as_bytes())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                *self.open.lock().await = None;
                Err(failed(&error))
            }
            Err(_) => {
                *self.open.lock().await = None;
                Err(ChannelError::away(
                    format!("took nothing within {:?}", self.config.timeout),
                    "is the receiver up, and may this host reach it?",
                ))
            }
        }
    }

    async fn write(&self, line: &[u8]) -> io::Result<()> {
        match &self.config.address {
            None => Ok(()),
            Some(SyslogAddress::Unix(path)) => UnixDatagram::unbound()?.send_to(line, path).await.map(drop),
            Some(SyslogAddress::Udp(host, port)) => {
                let to = tokio::net::lookup_host((host.as_str(), *port)).await?.next();
                let to = to.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
                let any: std::net::IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
                let socket = UdpSocket::bind((any, 0)).await?;
                socket.connect(to).await?;
                socket.send(line).await.map(drop)
            }
            Some(SyslogAddress::Tcp(host, port) | SyslogAddress::Tls(host, port)) => {
                let mut framed = format!("{} ", line.len()).into_bytes();
                framed.extend_from_slice(line);
                let mut open = self.open.lock().await;
                if open.as_mut().is_some_and(Line::is_over) {
                    *open = None;
                }
                let stream = match &mut *open {
                    Some(stream) => stream,
                    none => none.insert(self.connect(host, *port).await?),
                };
                match stream {
                    Line::Plain(stream) => put(stream, &framed).await,
                    Line::Tls(stream) => put(stream, &framed).await,
                }
            }
        }
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<Line> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Line::Plain(stream));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Line::Tls(Box::new(tls.connect(name, stream).await?)))
    }
}

async fn put(stream: &mut (impl AsyncWrite + Unpin), framed: &[u8]) -> io::Result<()> {
    stream.write_all(framed).await?;
    stream.flush().await
}

impl Line {
    /// Whether the other side has closed: what is written then is lost without an error. Receivers of syslog say nothing, so
    /// whatever can be read is an end.
    fn is_over(&mut self) -> bool {
        let mut byte = [0; 1];
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => {
                use futures_util::FutureExt;
                return stream.read(&mut byte).now_or_never().is_some();
            }
        };
        !matches!(stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

fn connector(config: &SyslogConfig) -> Result<TlsConnector, ChannelError> {
    crate::tls::install();
    let key = "alerting.syslog.ca_file";
    let client = match &config.ca_file {
        Some(file) => {
            let wrong = || {
                ChannelError::settings(
                    format!("{}: holds no certificate in PEM", file.display()),
                    format!("mend `{key}`"),
                )
            };
            let mut trusted = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(file).map_err(|_| wrong())? {
                let added = certificate.map(|certificate| trusted.add(certificate));
                added.map_err(|_| wrong())?.map_err(|_| wrong())?;
            }
            ClientConfig::builder()
                .with_root_certificates(trusted)
                .with_no_client_auth()
        }
        None => ClientConfig::with_platform_verifier().map_err(|_| {
            ChannelError::settings(
                "no certificates to trust",
                format!("install your system's `ca-certificates`, or name a file in `{key}`"),
            )
        })?,
    };
    Ok(TlsConnector::from(Arc::new(client)))
}

fn failed(error: &io::Error) -> ChannelError {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return ChannelError::settings(
            crate::tls::words(tls),
            "name its issuer in `alerting.syslog.ca_file`, and the server by the name of its certificate",
        );
    }
    let cause = match error.kind() {
        io::ErrorKind::NotFound => "there is no such socket or name",
        io::ErrorKind::ConnectionRefused => "nobody listens there",
        io::ErrorKind::PermissionDenied => "it may not be written to",
        _ => "the connection broke off",
    };
    ChannelError::away(cause, "is the receiver up? Check `alerting.syslog.address`")
}

/// One message, as long as every receiver takes; what is cut is the text at its end.
fn message(letter: &Letter, config: &SyslogConfig) -> String {
    // Severities of RFC 5424, 6.2.1.
    let severity = match letter.severity {
        Some(Severity::High) => 2,
        Some(Severity::Medium) => 4,
        Some(Severity::Low) => 5,
        None => 6,
    };
    let priority = u16::from(config.facility.0) * 8 + severity;
    let host: String = letter.host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let host = if host.is_empty() { "-" } else { &host };
    let head = format!(
        "<{priority}>1 {} {host} sentinel {} {}",
        letter.at,
        std::process::id(),
        letter.kind
    );
    let mut line = match config.format {
        SyslogFormat::Rfc5424 => format!("{head} {} {}: {}", structured(letter), letter.title, letter.lead),
        SyslogFormat::Cef => format!("{head} - {}", cef(letter)),
    };
    let mut end = LONGEST.min(line.len());
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}

/// `[sentinel@… name="value"]` (RFC 5424, 6.3).
fn structured(letter: &Letter) -> String {
    let mut out = format!("[{SD_ID}");
    for (name, value) in &letter.values {
        if ["title", "summary", "host", "kind"].contains(name) || value.is_empty() {
            continue;
        }
        let mut escaped = String::new();
        for c in value.chars() {
            if matches!(c, '"' | '\\' | ']') {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        let _ = write!(out, " {name}=\"{escaped}\"");
    }
    out.push(']');
    out
}

/// Common Event Format, version 0 (ArcSight, "Implementing ArcSight Common Event Format").
fn cef(letter: &Letter) -> String {
    let head = |text: &str| text.replace('\\', "\\\\").replace('|', "\\|");
    let value = |text: &str| text.replace('\\', "\\\\").replace('=', "\\=");
    let severity = match letter.severity {
        Some(Severity::High) => 9,
        Some(Severity::Medium) => 6,
        Some(Severity::Low) => 3,
        None => 0,
    };
    let of = |name: &str| letter.values.get(name).map_or("", String::as_str);
    let class = if letter.kind == "alert" {
        of("detector")
    } else {
        letter.kind
    };
    let mut out = format!(
        "CEF:0|Sentinel|Sentinel|{}|{}|{}|{severity}|",
        env!("CARGO_PKG_VERSION"),
        head(class),
        head(&letter.title)
    );
    let time = letter.at.unix_millis().to_string();
    let mut fields = vec![("rt", time.as_str()), ("externalId", of("id")), ("dvchost", of("host"))];
    fields.extend([
        ("src", of("source")),
        ("act", of("action")),
        ("cat", of("family")),
        ("cnt", of("alerts")),
    ]);
    fields.push(("msg", letter.lead.as_str()));
    let fields = fields.into_iter().filter(|(_, text)| !text.is_empty());
    let fields: Vec<_> = fields.map(|(name, text)| format!("{name}={}", value(text))).collect();
    out.push_str(&fields.join(" "));
    out
}

impl Channel for Syslog {
    fn kind(&self) -> ChannelKind {
        ChannelKind::Syslog
    }

    fn deliver<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(self.send(letter))
    }
}
