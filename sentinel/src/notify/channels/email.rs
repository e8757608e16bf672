//! E-mail by SMTP (RFC 5321, RFC 3207): text and HTML of the same, files with it.

use super::{Channel, ChannelError, Fault};
use crate::config::{EmailConfig, MailSecurity, Mailbox as Address};
use crate::notify::Letter;
use crate::types::{ChannelKind, Severity, Template};
use futures_util::future::BoxFuture;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, Message, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use std::error::Error as StdError;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// Characters of a subject.
const SUBJECT: usize = 200;

pub(super) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    subject: Template,
    timeout: Duration,
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The transport has the password.
        f.debug_struct("Email")
            .field("from", &self.from)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

impl Email {
    pub(super) fn new(config: &EmailConfig) -> Result<Self, ChannelError> {
        crate::tls::install();
        let host = config.host.as_ref().map_or("", |host| host.0.as_str());
        let tls = match config.security {
            MailSecurity::None => Tls::None,
            MailSecurity::StartTls => Tls::Required(parameters(config, host)?),
            MailSecurity::Tls => Tls::Wrapper(parameters(config, host)?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(config.port as u16)
            .timeout(Some(config.timeout))
            .tls(tls);
        if let Some(password) = &config.password {
            builder = builder.credentials(Credentials::new(config.user.clone(), password.expose().to_owned()));
        }
        let from = config
            .from
            .as_ref()
            .ok_or_else(|| ChannelError::settings("nobody to write as", "set `alerting.email.from`"))?;
        Ok(Self {
            transport: builder.build(),
            from: mailbox(from)?,
            to: config.to.iter().map(mailbox).collect::<Result<_, _>>()?,
            subject: config.subject.clone(),
            timeout: config.timeout,
        })
    }

    fn message(&self, letter: &Letter) -> Result<Message, ChannelError> {
        let id = format!("<{}@{}>", letter.id, self.from.email.domain());
        let subject: String = self.subject.fill(&letter.values).chars().take(SUBJECT).collect();
        let mut builder = Message::builder()
            .from(self.from.clone())
            .message_id(Some(id))
            .subject(subject)
            .header(Automatic);
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        if letter.severity == Some(Severity::High) {
            builder = builder.header(Urgent);
        }
        let body = MultiPart::alternative()
            .singlepart(SinglePart::plain(letter.text()))
            .singlepart(SinglePart::html(html(letter)));
        let attached = attachments(letter);
        let built = if attached.is_empty() {
            builder.multipart(body)
        } else {
            let all = attached
                .into_iter()
                .fold(MultiPart::mixed().multipart(body), MultiPart::singlepart);
            builder.multipart(all)
        };
        built.map_err(|error| {
            ChannelError::new(
                Fault::Letter,
                format!("it cannot be written as mail: {error}"),
                "look at `from` and `to`",
            )
        })
    }

    async fn send(&self, letter: &Letter) -> Result<(), ChannelError> {
        let message = self.message(letter)?;
        match tokio::time::timeout(self.timeout.saturating_mul(3), self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(ChannelError::away(
                format!("the mail server did not take it within {:?}", self.timeout),
                "is it up? A longer `alerting.email.timeout` is for one that is slow",
            )),
        }
    }
}

fn parameters(config: &EmailConfig, host: &str) -> Result<TlsParameters, ChannelError> {
    let key = "alerting.email.ca_file";
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(file) = &config.ca_file {
        let unusable =
            |cause: String| ChannelError::settings(format!("{}: {cause}", file.display()), format!("mend `{key}`"));
        let pem = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
        let trusted = Certificate::from_pem(&pem).map_err(|_| unusable("holds no certificate in PEM".to_owned()))?;
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(trusted);
    }
    builder.build().map_err(|_| {
        ChannelError::settings(
            "no certificates to trust",
            format!("install your system's `ca-certificates`, or name a file in `{key}`"),
        )
    })
}

fn mailbox(address: &Address) -> Result<Mailbox, ChannelError> {
    address.0.parse().map_err(|_| {
        ChannelError::settings(
            format!("`{}` is not the address of a mailbox", address.0),
            "mend `from` or `to`",
        )
    })
}

/// Those that can be read: one that went in this moment is named in the letter all the same.
fn attachments(letter: &Letter) -> Vec<SinglePart> {
    let mut parts = Vec::new();
    for file in &letter.files {
        let name = file.file_name().and_then(|name| name.to_str());
        let kind = match file.extension().and_then(|ending| ending.to_str()) {
            Some("pdf") => "application/pdf",
            Some("html") => "text/html",
            Some("json") => "application/json",
            _ => "application/octet-stream",
        };
        let (Some(name), Ok(kind), Ok(bytes)) = (name, ContentType::parse(kind), std::fs::read(file)) else {
            continue;
        };
        parts.push(Attachment::new(name.to_owned()).body(bytes, kind));
    }
    parts
}

/// What went wrong: of the server's words only its code.
fn failed(error: &lettre::transport::smtp::Error) -> ChannelError {
    if let Some(code) = error.status() {
        let code = code.to_string();
        return match code.as_str() {
            "530" | "534" | "535" | "538" => ChannelError::settings(
                format!("the mail server refuses the log-in ({code})"),
                "check `alerting.email.user` and the password",
            ),
            "552" => ChannelError::new(
                Fault::Letter,
                format!("the mail server refuses it ({code}): it is too large"),
                "let the server take larger mail, or write reports in fewer formats",
            ),
            // Mostly the sender, a recipient or a relay: that is mended, and no message is lost.
            "501" | "550" | "551" | "553" | "554" => ChannelError::settings(
                format!("the mail server refuses it ({code})"),
                "may this sender write to each of these recipients? Look at the server's log, and at `from` and `to`",
            ),
            _ if error.is_permanent() => ChannelError::settings(
                format!("the mail server refuses it ({code})"),
                "look at the server's log, and at `alerting.email`",
            ),
            _ => ChannelError::away(
                format!("the mail server takes nothing now ({code})"),
                "it is tried again",
            ),
        };
    }
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(inner) = next {
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return tls_failed(tls);
        }
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                return tls_failed(tls);
            }
            if io.kind() == std::io::ErrorKind::ConnectionRefused {
                return ChannelError::away(
                    "the mail server refuses connections",
                    "is it up? Check `host` and `port`",
                );
            }
        }
        next = inner.source();
    }
    if error.is_timeout() {
        return ChannelError::away(
            "the mail server does not answer",
            "is it up, and may this host reach it?",
        );
    }
    if error.is_tls() {
        return ChannelError::settings("TLS: no handshake", "check `alerting.email.security` and `port`");
    }
    if error.is_client() {
        return ChannelError::settings(
            "the mail server offers no STARTTLS, or no log-in we know",
            "check `alerting.email.security` and `port`",
        );
    }
    ChannelError::away("no connection to the mail server", "is it up? Check `host` and `port`")
}

fn tls_failed(error: &rustls::Error) -> ChannelError {
    ChannelError::settings(
        crate::tls::words(error),
        "name its issuer in `alerting.email.ca_file`, and the server by the name of its certificate; or check `security`",
    )
}

/// For clients: the sentence first, so that a phone's preview shows it; no image, no script, nothing fetched.
fn html(letter: &Letter) -> String {
    let (colour, name) = match letter.severity {
        Some(Severity::High) => ("#b71c1c", "high"),
        Some(Severity::Medium) => ("#b45309", "medium"),
        Some(Severity::Low) => ("#475569", "low"),
        None => ("#1e40af", letter.kind),
    };
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title></head>\
         <body style=\"margin:0;padding:16px;background:#f1f5f9;color:#0f172a;font:16px/1.5 system-ui,sans-serif\">\
         <div style=\"display:none;max-height:0;overflow:hidden\">{lead}</div>\
         <div style=\"max-width:640px;margin:0 auto;background:#fff;border-radius:8px;border-top:6px solid {colour};padding:20px\">\
         <p style=\"margin:0;color:{colour};font-weight:600\">{name}</p>\
         <h1 style=\"margin:4px 0 12px;font-size:20px;line-height:1.3\">{title}</h1><p style=\"margin:0 0 12px\">{lead}</p>",
        title = escape(&letter.title),
        lead = escape(&letter.lead),
    );
    for (title, items) in letter.sections.iter().filter(|(_, items)| !items.is_empty()) {
        let _ = write!(
            out,
            "<h2 style=\"margin:16px 0 4px;font-size:16px\">{title}</h2><ul style=\"margin:0;padding-left:20px\">"
        );
        for item in items {
            let _ = write!(out, "<li style=\"overflow-wrap:anywhere\">{}</li>", escape(item));
        }
        out.push_str("</ul>");
    }
    let _ = write!(
        out,
        "<p style=\"margin:20px 0 0\"><a href=\"{link}\" style=\"color:#1e40af\">Open in Sentinel</a></p>\
         <p style=\"margin:12px 0 0;color:#475569;font-size:13px\">{host} · {at}</p></div></body></html>",
        link = escape(&letter.link),
        host = escape(&letter.host),
        at = letter.at,
    );
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// `Auto-Submitted` (RFC 3834): no answering machine answers.
#[derive(Clone)]
struct Automatic;

impl Header for Automatic {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn StdError + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// `Importance` (RFC 2156).
#[derive(Clone)]
struct Urgent;

impl Header for Urgent {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Importance")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn StdError + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "high".to_owned())
    }
}

impl Channel for Email {
    fn kind(&self) -> ChannelKind {
        ChannelKind::Email
    }

    fn deliver<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(self.send(letter))
    }
}
