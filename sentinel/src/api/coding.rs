//! Which of our content codings a request is answered in (RFC 9110 §12.5.3).
//!
//! The layer that compresses refuses with 406 what asks for none of ours, after the request was carried out. Whoever takes
//! nothing is answered plainly instead: it is told what was done.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT_ENCODING, HeaderValue};

/// Ours, the smallest first.
const OURS: [&str; 2] = ["br", "gzip"];

/// Leaves of `Accept-Encoding` the one coding the answer will have.
pub(super) async fn settled(mut request: Request) -> Request {
    let chosen = chosen(request.headers());
    let headers = request.headers_mut();
    headers.remove(ACCEPT_ENCODING);
    if let Some(coding) = chosen {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(coding));
    }
    request
}

/// The one of ours that is liked best; of equals the smaller.
fn chosen(headers: &HeaderMap) -> Option<&'static str> {
    let said: Vec<(String, u16)> = headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(weighed)
        .collect();
    let liked = |name: &str| said.iter().find(|(said, _)| said == name).map(|(_, q)| *q);
    let any = liked("*").unwrap_or(0);
    let plain = liked("identity").unwrap_or(0);
    let mut best: Option<(&'static str, u16)> = None;
    for name in OURS {
        let q = liked(name).unwrap_or(any);
        if q > 0 && q >= plain && best.is_none_or(|(_, least)| q > least) {
            best = Some((name, q));
        }
    }
    best.map(|(name, _)| name)
}

/// `gzip;q=0.5` as a name and thousandths; what cannot be read is left out.
fn weighed(text: &str) -> Option<(String, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
    let mut weight = 1000;
    for part in parts {
        let (key, value) = part.split_once('=')?;
        if key.trim().eq_ignore_ascii_case("q") {
            let q: f32 = value.trim().parse().ok().filter(|q| (0.0..=1.0).contains(q))?;
            weight = (q * 1000.0) as u16;
        }
    }
    Some((name, weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coding_that_is_liked_best() {
        for (said, coding) in [
            ("gzip, deflate, br, zstd", Some("br")),
            ("gzip", Some("gzip")),
            ("GZIP", Some("gzip")),
            ("br;q=0.5, gzip", Some("gzip")),
            ("br;q=0, gzip;q=0.1", Some("gzip")),
            ("*", Some("br")),
            ("br;q=0, *", Some("gzip")),
            ("identity, gzip;q=0.5", None),
            ("identity", None),
            ("zstd", None),
            ("identity;q=0", None),
            ("*;q=0", None),
            ("gzip;q=2", None),
            ("gzip;q=x", None),
            ("", None),
            (",;,", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(said).unwrap());
            assert_eq!(chosen(&headers), coding, "{said}");
        }
        assert_eq!(chosen(&HeaderMap::new()), None);
    }
}
