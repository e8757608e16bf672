//! A local API of CrowdSec as a feed: everything once, then what changed, and always the whole list handed on.
//!
//! What is remembered of an answer is only what the next one builds on: after anything that went wrong, and every hour,
//! everything is asked for anew. Bans of addresses and prefixes are entries; other remediations and scopes are counted.

use super::fetch::{FetchError, Fetched, Scratch, Version, told};
use super::parse::{ENTRIES_MAX, plain};
use crate::time::go_duration;
use crate::types::{Secret, Timestamp};
use ipnet::IpNet;
use reqwest::header::HeaderValue;
use reqwest::{Client, StatusCode, Url};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Mutex;

/// How often everything is asked for anew.
const ANEW: Duration = Duration::from_hours(1);
/// How long a ban holds whose duration cannot be read: CrowdSec's own default.
const FALLBACK: Duration = Duration::from_hours(4);

/// One local API.
#[derive(Clone)]
pub(super) struct Lapi(Arc<Inner>);

struct Inner {
    client: Client,
    url: Url,
    key: HeaderValue,
    max_bytes: u64,
    /// The file of certificates that are trusted in place of the system's.
    authority: Vec<u8>,
    state: Mutex<State>,
    left_out: AtomicU64,
}

impl std::fmt::Debug for Lapi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lapi")
            .field("url", &self.0.url.as_str())
            .finish_non_exhaustive()
    }
}

/// What it said so far.
#[derive(Debug, Default)]
pub(super) struct State {
    /// When everything was last asked for; `None`: it is next.
    whole_at: Option<Timestamp>,
    /// Bans, and when each ends.
    bans: BTreeMap<IpNet, Timestamp>,
    /// Decisions that are no bans of addresses or prefixes, by what tells them apart.
    others: BTreeMap<[u8; 16], Timestamp>,
}

/// An answer; unknown fields are passed over.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Answer {
    #[serde(default, deserialize_with = "bounded")]
    new: Vec<Told>,
    #[serde(default, deserialize_with = "bounded")]
    deleted: Vec<Told>,
}

/// A list or null; of more than are taken only as many are kept as tell that.
fn bounded<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Told>, D::Error> {
    from.deserialize_option(Bounded { most: ENTRIES_MAX + 1 })
}

struct Bounded {
    most: usize,
}

impl<'de> Visitor<'de> for Bounded {
    type Value = Vec<Told>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of decisions or null")
    }

    fn visit_none<E>(self) -> Result<Vec<Told>, E> {
        Ok(Vec::new())
    }

    fn visit_unit<E>(self) -> Result<Vec<Told>, E> {
        Ok(Vec::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Vec<Told>, D::Error> {
        from.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Told>, A::Error> {
        let mut all = Vec::new();
        while all.len() < self.most {
            let Some(told) = items.next_element()? else {
                return Ok(all);
            };
            all.push(told);
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(all)
    }
}

#[derive(Debug, Deserialize)]
struct Told {
    scope: String,
    value: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    duration: String,
    #[serde(default)]
    simulated: bool,
}

impl Lapi {
    /// A client; `None` for the key where there is none yet: then it is refused, and says so.
    pub(super) fn new(client: Client, url: Url, key: Option<&Secret>, max_bytes: u64) -> Self {
        let text = key.map_or("", Secret::expose);
        let mut key = HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        key.set_sensitive(true);
        Self(Arc::new(Inner {
            client,
            url,
            key,
            max_bytes,
            authority: Vec::new(),
            state: Mutex::default(),
            left_out: AtomicU64::new(0),
        }))
    }

    /// Whose client trusts these certificates.
    pub(super) fn trusting(mut self, authority: Vec<u8>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.authority = authority;
        }
        self
    }

    /// Whether another asks the same with the same key, by the same bounds.
    pub(super) fn asks_as(&self, other: &Self) -> bool {
        let by = |one: &Self| (one.0.url.clone(), one.0.key.clone(), one.0.max_bytes);
        by(self) == by(other) && self.0.authority == other.0.authority
    }

    pub(super) fn url(&self) -> &Url {
        &self.0.url
    }

    /// Decisions that are in force there and no entries here.
    pub(super) fn left_out(&self) -> u64 {
        self.0.left_out.load(Relaxed)
    }

    /// Asks what changed. The whole list is in `to` where it is another one than `known`.
    pub(super) async fn ask(&self, known: &Version, to: PathBuf, now: Timestamp) -> Result<Fetched, FetchError> {
        let inner = &*self.0;
        let mut state = inner.state.lock().await;
        let whole = state.whole_at.is_none_or(|at| now >= at.after(ANEW) || now < at);
        // Whatever goes wrong from here on: what it told is lost, so everything is asked for next.
        let before = state.whole_at.take();
        let answer = inner.answer(whole).await?;
        state.take_in(answer, whole, now)?;
        state.whole_at = if whole { Some(now) } else { before };
        inner.left_out.store(state.others.len() as u64, Relaxed);
        let text = state.text();
        let digest = Version {
            etag: Some(crate::types::hex(&Sha256::digest(&text)[..16])),
            last_modified: None,
        };
        if digest == *known {
            return Ok(Fetched::Unchanged);
        }
        let scratch = Scratch::filled(to, text.as_bytes()).await?;
        Ok(Fetched::List(scratch, digest))
    }
}

impl Inner {
    async fn answer(&self, whole: bool) -> Result<Answer, FetchError> {
        let mut url = self.url.clone();
        let path = format!("{}/v1/decisions/stream", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url.query_pairs_mut()
            .append_pair("startup", if whole { "true" } else { "false" })
            .append_pair("scopes", "ip,range");
        let request = self.client.get(url).header("x-api-key", self.key.clone());
        let mut response = request.send().await.map_err(told)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(FetchError::Key),
            StatusCode::NOT_FOUND => return Err(FetchError::NoLapi),
            status => return Err(FetchError::status(status, response.headers())),
        }
        let too_large = Err(FetchError::TooLarge(self.max_bytes));
        if response.content_length().is_some_and(|length| length > self.max_bytes) {
            return too_large;
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(told)? {
            if (body.len() + piece.len()) as u64 > self.max_bytes {
                return too_large;
            }
            body.extend_from_slice(&piece);
        }
        // Where in it, and nothing of it: it is a stranger's text.
        let read = serde_json::from_slice::<Answer>(&body);
        read.map_err(|error| FetchError::Malformed(format!("line {}, column {}", error.line(), error.column())))
    }
}

impl State {
    pub(super) fn take_in(&mut self, answer: Answer, whole: bool, now: Timestamp) -> Result<(), FetchError> {
        if answer.new.len().max(answer.deleted.len()) > ENTRIES_MAX {
            return Err(FetchError::TooMany(ENTRIES_MAX));
        }
        if whole {
            self.bans.clear();
            self.others.clear();
        }
        for gone in answer.deleted {
            match gone.banned() {
                Some(net) => drop(self.bans.remove(&net)),
                None => drop(self.others.remove(&gone.other())),
            }
        }
        for came in answer.new {
            let end = match go_duration(&came.duration) {
                Some(left) => Timestamp(now.0.saturating_add(left)),
                None => now.after(FALLBACK),
            };
            match came.banned() {
                Some(net) => self.bans.insert(net, end),
                None => self.others.insert(came.other(), end),
            };
            if self.bans.len() + self.others.len() > ENTRIES_MAX {
                return Err(FetchError::TooMany(ENTRIES_MAX));
            }
        }
        // What ended is told, and where that was lost it ends all the same.
        self.bans.retain(|_, end| *end > now);
        self.others.retain(|_, end| *end > now);
        Ok(())
    }

    pub(super) fn text(&self) -> String {
        self.bans.keys().fold(String::new(), |mut text, net| {
            let _ = writeln!(text, "{net}");
            text
        })
    }
}

impl Told {
    /// Whom it bans; `None` where it does something else, or to somebody else.
    fn banned(&self) -> Option<IpNet> {
        let scope = ["ip", "range"]
            .iter()
            .any(|scope| self.scope.eq_ignore_ascii_case(scope));
        let ban = self.kind.eq_ignore_ascii_case("ban") && !self.simulated;
        // CrowdSec takes a range with bits behind its length.
        (scope && ban).then(|| plain(&self.value).or_else(|| Some(self.value.parse::<IpNet>().ok()?.trunc())))?
    }

    fn other(&self) -> [u8; 16] {
        let digest = Sha256::digest(format!("{}\n{}\n{}", self.scope, self.kind, self.value));
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        serde_json::from_str(text).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    fn ban(value: &str, duration: &str) -> String {
        let scope = if value.contains('/') { "Range" } else { "Ip" };
        format!(
            r#"{{"id":1,"origin":"cscli","scenario":"x","scope":"{scope}","type":"ban","value":"{value}","duration":"{duration}"}}"#
        )
    }

    #[test]
    fn what_changed_is_added_to_what_was_told() {
        let mut state = State::default();
        let new = [
            ban("203.0.113.7", "4h"),
            ban("198.51.100.9/24", "1m"),
            ban("2001:db8::1", "-1s"),
        ]
        .join(",");
        state
            .take_in(answer(&format!(r#"{{"new":[{new}],"deleted":null}}"#)), true, at(0))
            .unwrap();
        assert_eq!(state.text(), "198.51.100.0/24\n203.0.113.7/32\n");
        // Deleted comes first, and what has ended ends without a word.
        let text = format!(
            r#"{{"deleted":[{0}],"new":[{0},{1}]}}"#,
            ban("203.0.113.7", "-1s"),
            ban("203.0.113.8", "1h2m3.5s")
        );
        state.take_in(answer(&text), false, at(61)).unwrap();
        assert_eq!(state.text(), "203.0.113.8/32\n");
        state
            .take_in(answer(r#"{"new":null,"deleted":null}"#), false, at(62))
            .unwrap();
        assert_eq!(state.text(), "203.0.113.8/32\n");
        state.take_in(answer("{}"), true, at(63)).unwrap();
        assert_eq!(state.text(), "", "everything is nothing");
    }

    #[test]
    fn of_more_than_are_taken_no_more_are_kept_than_tell_that() {
        let text = format!("[{}]", vec![ban("203.0.113.7", "4h"); 9].join(","));
        let read = |most: usize| {
            let mut from = serde_json::Deserializer::from_str(&text);
            let all = Deserializer::deserialize_option(&mut from, Bounded { most }).unwrap();
            from.end().unwrap();
            all.len()
        };
        assert_eq!((read(4), read(9), read(10)), (4, 9, 9));
        assert!(serde_json::from_str::<Answer>(r#"{"new":7}"#).is_err());
    }

    #[test]
    fn other_scopes_and_remediations_are_counted_and_left_out() {
        let mut state = State::default();
        let text = r#"{"new":[
            {"scope":"Country","type":"ban","value":"FR","duration":"4h"},
            {"scope":"ip","type":"captcha","value":"203.0.113.1","duration":"4h"},
            {"scope":"Ip","type":"ban","value":"203.0.113.2","duration":"4h","simulated":true},
            {"scope":"Ip","type":"ban","value":"nonsense","duration":"4h"},
            {"scope":"ip","type":"BAN","value":"::ffff:203.0.113.3","duration":"who knows"}]}"#;
        state.take_in(answer(text), true, at(0)).unwrap();
        assert_eq!((state.text().as_str(), state.others.len()), ("203.0.113.3/32\n", 4));
        let gone = r#"{"deleted":[{"scope":"Country","type":"ban","value":"FR"}]}"#;
        state.take_in(answer(gone), false, at(1)).unwrap();
        assert_eq!(state.others.len(), 3);
    }
}
