//! Query strings and small texts from outside, read strictly: an unknown parameter is an error, not a shrug.

use super::error::Problem;
use crate::store::{PAGE_MAX, Window};
use crate::types::Timestamp;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use ipnet::IpNet;
use jiff::{Span, SpanRelativeTo};
use std::net::IpAddr;
use std::time::Duration;

/// The parameters of a request, taken out one by one.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(pairs)| Self(pairs))
            .map_err(|e| Problem::invalid(format!("the query cannot be read: {e}")))
    }
}

impl Params {
    /// The value of `key`, read by `parse`; `expected` completes "… must be".
    pub(super) fn take<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(place) = self.0.iter().position(|(k, _)| k == key) else {
            return Ok(None);
        };
        let (_, value) = self.0.swap_remove(place);
        if self.0.iter().any(|(k, _)| k == key) {
            return Err(Problem::invalid(format!("`{key}` is given twice")));
        }
        match parse(&value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(Problem::invalid(format!(
                "`{key}` must be {expected}, not `{}`",
                short(&value)
            ))),
        }
    }

    /// A comma-separated list of a noun's names.
    pub(super) fn words<T: serde::de::DeserializeOwned>(
        &mut self,
        key: &str,
        expected: &str,
    ) -> Result<Vec<T>, Problem> {
        let all = |text: &str| text.split(',').map(word).collect::<Option<Vec<T>>>();
        Ok(self.take(key, expected, all)?.unwrap_or_default())
    }

    /// `limit`, `cursor` and `since`, which every list takes.
    pub(super) fn window(&mut self, now: Timestamp) -> Result<Window, Problem> {
        let range = |text: &str| text.parse().ok().filter(|n| (1..=PAGE_MAX).contains(n));
        let limit = self.take("limit", "a number from 1 to 1000", range)?;
        let cursor = self.take("cursor", "a cursor", |text| Some(text.to_owned()))?;
        Ok(Window {
            limit: limit.unwrap_or(Window::default().limit),
            cursor,
            since: self.since(now)?,
        })
    }

    /// `since`: a time, or how far back.
    pub(super) fn since(&mut self, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
        self.take("since", "an RFC 3339 time or a duration such as `4h`", |text| {
            since(text, now)
        })
    }

    /// `ip`: an address or prefix.
    pub(super) fn ip(&mut self) -> Result<Option<IpNet>, Problem> {
        self.take("ip", "an address or prefix", |text| target(text).ok())
    }

    /// Refuses what was not taken.
    pub(super) fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => Err(Problem::invalid(format!(
                "`{}` is no parameter of this path",
                short(key)
            ))),
        }
    }
}

pub(super) fn since(text: &str, now: Timestamp) -> Option<Timestamp> {
    match duration(text) {
        Ok(back) => Some(Timestamp(now.0.saturating_sub(back.as_nanos() as i64))),
        Err(_) => text.parse().ok(),
    }
}

/// One name of a noun, as serde spells it.
pub(super) fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}

/// An address, or a prefix without host bits; IPv4-mapped IPv6 becomes IPv4.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn target(text: &str) -> Result<IpNet, String> {
    let net = match text.parse::<IpAddr>() {
        Ok(ip) => IpNet::from(ip.to_canonical()),
        Err(_) => text.parse::<IpNet>().map_err(|_| {
            format!(
                "`{}` is neither an address nor a prefix such as 203.0.113.0/24",
                short(text)
            )
        })?,
    };
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(format!(
            "`{net}` has bits set behind its prefix; write `{}` or the address alone",
            net.trunc()
        ))
    }
}

/// `30s`, `4h`, `1d`, `1h30m`; more than zero.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<Span>()
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
        .ok()
        .and_then(|d| Duration::try_from(d).ok())
        .filter(|d| !d.is_zero())
        .ok_or_else(|| {
            format!(
                "`{}` is no duration; write one such as `30s`, `4h` or `1d`",
                short(text)
            )
        })
}

/// Enough of a hostile text to recognise it by.
pub(super) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}
