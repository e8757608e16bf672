//! Servers that people are told by: whose block would drop what they answer.

use crate::config::{AlertingConfig, SyslogAddress};
use reqwest::Url;

/// Of what is configured: what each is for, and its host.
pub fn endpoints(config: &AlertingConfig) -> Vec<(String, String)> {
    let of = |url: &str| Some(Url::parse(url).ok()?.host_str()?.to_owned());
    let mail = config.email.host.as_ref().map(|host| host.0.clone());
    let slack = config.slack.url.as_ref().and_then(|url| of(url.expose()));
    let webhook = config.webhook.url.as_ref().and_then(|url| of(url.0.expose()));
    let syslog = config.syslog.address.as_ref().and_then(|address| match address {
        SyslogAddress::Unix(_) => None,
        SyslogAddress::Udp(host, _) | SyslogAddress::Tcp(host, _) | SyslogAddress::Tls(host, _) => Some(host.clone()),
    });
    [
        ("mail server", mail),
        ("Slack", slack),
        ("webhook", webhook),
        ("syslog server", syslog),
    ]
    .into_iter()
    .filter_map(|(what, host)| Some((what.to_owned(), host?)))
    .collect()
}
