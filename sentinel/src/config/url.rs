//! Names of servers.

use super::intel::CacheBackend;
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
