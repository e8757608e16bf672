//! Rules between the keys of `alerting`.

use super::super::alerting::AlertingConfig;
use super::super::channels::MailSecurity;
use super::super::hosts;
use crate::types::{ChannelKind, Secret, off_limits};
use std::net::IpAddr;
use std::path::Path;

/// Adds what is wrong.
pub(super) fn cross(config: &AlertingConfig, say: &mut impl FnMut(&'static str, String, &str)) {
    email(config, say);
    for (key, url) in [
        ("alerting.slack.url_file", config.slack.url.as_ref()),
        ("alerting.webhook.url", config.webhook.url.as_ref().map(|url| &url.0)),
    ] {
        let Some(ip) = url.and_then(literal) else { continue };
        if let Some(what) = off_limits(ip).filter(|_| !config.allow_link_local) {
            say(
                key,
                format!("leads to {ip}, {what}"),
                "name the receiver's own address; `alerting.allow_link_local: true` if this is meant",
            );
        }
    }
    let webhook = &config.webhook;
    if webhook.url.is_none() && (!webhook.headers.is_empty() || webhook.body.is_some()) {
        say(
            "alerting.webhook.url",
            "is empty, and there are headers or a body for it".into(),
            "say where it leads, or leave them out",
        );
    }
    for (key, file) in [
        ("alerting.email.ca_file", config.email.ca_file.as_deref()),
        ("alerting.syslog.ca_file", config.syslog.ca_file.as_deref()),
    ] {
        if let Some(cause) = file.and_then(unreadable) {
            say(
                key,
                cause,
                "name a readable PEM file, or leave it empty for the system's certificates",
            );
        }
    }
    let routing = &config.severity_routing;
    let named = [&routing.high, &routing.medium, &routing.low];
    let somewhere = |channel: &ChannelKind| {
        let routes = named.iter().any(|list| list.contains(channel));
        routes || config.detectors.all().any(|list| list.contains(channel))
    };
    for (channel, key) in [
        (ChannelKind::Email, "alerting.email.host"),
        (ChannelKind::Webhook, "alerting.webhook.url"),
        (ChannelKind::Syslog, "alerting.syslog.address"),
    ] {
        if config.configured(channel) && !somewhere(&channel) {
            say(
                key,
                format!("is set, and nothing is routed to `{}`", channel.as_str()),
                "name it in `alerting.severity_routing` or `alerting.detectors`, or leave this empty",
            );
        }
    }
}

fn email(config: &AlertingConfig, say: &mut impl FnMut(&'static str, String, &str)) {
    let email = &config.email;
    let Some(host) = &email.host else {
        if email.from.is_some() || !email.to.is_empty() {
            say(
                "alerting.email.host",
                "is empty, and there is somebody to write to".into(),
                "name the server that takes mail, or leave `from` and `to` empty",
            );
        }
        return;
    };
    if email.from.is_none() {
        say(
            "alerting.email.from",
            "is empty, so mail would come from nobody".into(),
            "write an address your server lets you send from, such as `sentinel@example.org`",
        );
    }
    if email.to.is_empty() {
        say(
            "alerting.email.to",
            "is empty, so nobody would get mail".into(),
            "write a list such as `[soc@example.org]`",
        );
    }
    if email.user.is_empty() != email.password.is_none() {
        say(
            "alerting.email.user",
            "and the password belong together, and one of them is missing".into(),
            "set `user` and give the password in SMTP_PASSWORD or `password_file`, or neither",
        );
    }
    let here = hosts::is_here(&host.0);
    if email.security == MailSecurity::None && email.password.is_some() && !here {
        say(
            "alerting.email.security",
            format!("is `none`, so the password would go to {} for all to read", host.0),
            "write `starttls` or `tls`",
        );
    }
}

/// The address a URL names itself.
fn literal(url: &Secret) -> Option<IpAddr> {
    let parsed: reqwest::Url = url.expose().parse().ok()?;
    let host = parsed.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn unreadable(file: &Path) -> Option<String> {
    match std::fs::read(file) {
        Err(error) => Some(format!("{}: cannot be read: {error}", file.display())),
        Ok(bytes) if !bytes.windows(27).any(|at| at == b"-----BEGIN CERTIFICATE-----") => {
            Some(format!("{}: holds no certificate in PEM", file.display()))
        }
        Ok(_) => None,
    }
}
