//! JSON by HTTP, signed.
//!
//! `X-Sentinel-Signature: v1=HEX` is HMAC-SHA256 (RFC 2104) with the shared secret over the decimal seconds of
//! `X-Sentinel-Timestamp`, a point, and the body. A receiver compares in constant time and refuses old timestamps.

use super::http::Post;
use super::{Channel, ChannelError};
use crate::config::{AlertingConfig, BodyTemplate};
use crate::notify::Letter;
use crate::types::{ChannelKind, Secret, hex};
use futures_util::future::BoxFuture;
use hmac::{Hmac, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

const KEY: &str = "alerting.webhook.url";

#[derive(Debug)]
pub(super) struct Webhook {
    post: Post,
    secret: Option<Secret>,
    headers: HeaderMap,
    body: Option<BodyTemplate>,
}

impl Webhook {
    pub(super) fn new(config: &AlertingConfig) -> Result<Self, ChannelError> {
        let webhook = &config.webhook;
        let none = Secret::new("");
        let url = webhook.url.as_ref().map_or(&none, |url| &url.0);
        let mut headers = HeaderMap::new();
        for line in &webhook.headers {
            let header = HeaderName::from_bytes(line.name.as_bytes())
                .ok()
                .zip(HeaderValue::from_str(line.value.expose()).ok());
            let Some((name, mut value)) = header else {
                return Err(ChannelError::settings(
                    "one of its headers cannot be sent",
                    "mend `alerting.webhook.headers`",
                ));
            };
            value.set_sensitive(true);
            headers.append(name, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self {
            post: Post::new(url, webhook.timeout, KEY, config.allow_link_local)?,
            secret: webhook.secret.clone(),
            headers,
            body: webhook.body.clone(),
        })
    }

    async fn send(&self, letter: &Letter) -> Result<(), ChannelError> {
        let body = match &self.body {
            Some(template) => template.fill(&letter.values).to_string(),
            None => letter.data.to_string(),
        };
        let mut headers = self.headers.clone();
        let mut put = |name: &'static str, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        };
        put("x-sentinel-delivery", letter.id.to_string());
        put("x-sentinel-event", letter.kind.to_owned());
        let seconds = crate::time::wall_now().unix_millis() / 1000;
        put("x-sentinel-timestamp", seconds.to_string());
        if let Some(secret) = &self.secret {
            put("x-sentinel-signature", sign(secret, seconds, body.as_bytes()));
        }
        let answer = self.post.send(headers, body.into_bytes()).await?;
        answer.taken(KEY)
    }
}

/// `v1=` and the hex of the code.
fn sign(secret: &Secret, seconds: u64, body: &[u8]) -> String {
    // A key of any length is taken (RFC 2104, 2).
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else {
        return String::new();
    };
    mac.update(seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("v1={}", hex(&mac.finalize().into_bytes()))
}

impl Channel for Webhook {
    fn kind(&self) -> ChannelKind {
        ChannelKind::Webhook
    }

    fn deliver<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(self.send(letter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_an_independent_tool() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        let signed = sign(&Secret::new("secret"), 1_700_000_000, br#"{"a":1}"#);
        assert_eq!(
            signed,
            "v1=49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686"
        );
    }
}
