//! Names of servers.

use super::intel::{CacheBackend, CustomFeed, FEED_NAMES};
use super::lapi::LAPI_FEED;
use super::value::{Fault, fault, quote};
use crate::types::Secret;

/// Longest URL that is taken.
const URL: usize = 512;

/// `https://host[:port]` (or `http://`), without the slash at the end.
pub(super) fn base_url(text: &str) -> Result<String, Fault> {
    let text = text.trim_end_matches('/');
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |c: char| c.is_ascii_graphic() && !"@?#\\\"<>{}|^`".contains(c);
    match rest {
        Some(rest)
            if !rest.is_empty() && !rest.starts_with(['/', ':']) && rest.chars().all(plain) && text.len() <= URL =>
        {
            Ok(text.to_owned())
        }
        _ => Err(fault(
            format!("{} is not the URL of a server", quote(text)),
            "write scheme and host, such as `https://api.example.com`; keys stand elsewhere",
        )),
    }
}

/// What a feed of one's own looks like.
pub(super) const FEED: &str = "mine=/etc/sentinel/blocked.txt";

/// The name of a feed.
pub(super) fn feed_name(text: &str) -> Result<&str, Fault> {
    let mut letters = text.chars();
    let begins = letters.next().is_some_and(|c| c.is_ascii_lowercase());
    if begins && text.len() <= 32 && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        return Ok(text);
    }
    Err(fault(
        format!("{} is not the name of a feed", quote(text)),
        "write up to 32 small letters, digits and `_`, a letter first",
    ))
}

/// `NAME=/path/of/a/file` or `NAME=https://…`. The fault does not repeat the place: it may hold a key.
pub(super) fn custom_feed(text: &str) -> Result<CustomFeed, Fault> {
    let (name, place) = text
        .split_once('=')
        .ok_or_else(|| fault("has no `NAME=`", format!("write such as `{FEED}`")))?;
    let name = feed_name(name)?;
    if FEED_NAMES.contains(&name) || name == LAPI_FEED {
        return Err(fault(
            format!("`{name}` is the name of a built-in feed"),
            "choose another name, or name it in `intel.feeds.enabled` (`crowdsec` has settings of its own)",
        ));
    }
    let web = place.strip_prefix("https://").or_else(|| place.strip_prefix("http://"));
    let host = web.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':', '?', '#']));
    let path = place.starts_with('/') && !place.contains('\0');
    if (path || (host && place.chars().all(|c| c.is_ascii_graphic()))) && place.len() <= 4 * URL {
        return Ok(CustomFeed {
            name: name.to_owned(),
            place: Secret::new(place),
        });
    }
    Err(fault(
        format!("the place of `{name}` is neither an absolute path nor a URL"),
        format!("write such as `{FEED}` or `{name}=https://example.com/list.txt`"),
    ))
}

/// `memory`, `redis://…`, `rediss://…`. The fault does not repeat the text: it may hold a password.
pub(super) fn cache(text: &str) -> Result<CacheBackend, Fault> {
    if text == "memory" {
        return Ok(CacheBackend::Memory);
    }
    let rest = text.strip_prefix("redis://").or_else(|| text.strip_prefix("rediss://"));
    match rest {
        Some(rest) if !rest.is_empty() && text.len() <= URL && text.chars().all(|c| c.is_ascii_graphic()) => {
            Ok(CacheBackend::Redis(Secret::new(text)))
        }
        _ => Err(fault(
            "is neither `memory` nor the URL of a Redis",
            "write `memory`, or such as `redis://127.0.0.1:6379/0`",
        )),
    }
}
