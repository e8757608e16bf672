//! TLS as providers speak it, and certificates nobody should believe.
//!
//! `testdata/tls_*.der`: self-signed P-256 certificates for 127.0.0.1 (one of them expired in 2020) and for 192.0.2.1, valid
//! until 2120, with one key for all; made with `openssl ca -selfsign`.

use super::super::http::{Key, Transport};
use super::super::testing::{Script, Server, json};
use super::secrets::{Log, assert_untold, logging};
use super::{BAD, CANARY, PROVIDERS, client, provider, sources};
use crate::intel::IntelError;
use crate::types::Severity;

const GOOD: &[u8] = include_bytes!("../testdata/tls_good.der");
const OTHER: &[u8] = include_bytes!("../testdata/tls_other.der");
const EXPIRED: &[u8] = include_bytes!("../testdata/tls_expired.der");
const KEY: &[u8] = include_bytes!("../testdata/tls_key.der");

#[tokio::test]
async fn an_answer_over_tls() {
    let log = Log::default();
    let _guard = logging(&log);
    let server = Server::start_tls(Script::Say(json(provider("ipqualityscore").hit)), GOOD, KEY).await;
    let config = sources("ipqualityscore", &server.url, Some(CANARY)).ipqualityscore;
    let transport = Transport::trusting(&config, GOOD);
    let url = transport.url(&["api", "json", "ip", CANARY, BAD]);
    let header = Key::required(&config, "x-key").unwrap();
    let answer = transport.get(url, Some(&header)).await.unwrap();
    assert!(answer.json::<super::super::ipqualityscore::Answer>().is_ok());
    let request = &server.requests()[0];
    assert!(
        request.starts_with(&format!("GET /api/json/ip/{CANARY}/{BAD} HTTP/1.1")),
        "{request}"
    );
    assert!(request.contains(&format!("x-key: {CANARY}")), "{request}");
    assert_untold(&log, &["hyper_util::client"]);
}

#[tokio::test]
async fn certificates_nobody_should_believe() {
    for (certificate, why) in [
        (OTHER, "TLS: its certificate is for another name"),
        (EXPIRED, "TLS: its certificate has expired; check this machine's clock"),
    ] {
        let server = Server::start_tls(Script::Say(json("{}")), certificate, KEY).await;
        let transport = Transport::trusting(&sources("otx", &server.url, None).otx, certificate);
        let told = transport.get(transport.url(&[CANARY]), None).await.map(|_| ());
        assert_eq!(told, Err(IntelError::Transport(why.to_owned())));
        assert!(server.requests().is_empty());
    }
}

#[tokio::test]
async fn nobody_is_believed_by_default() {
    let server = Server::start_tls(Script::Say(json("{}")), GOOD, KEY).await;
    for p in &PROVIDERS {
        let source = client(&sources(p.name, &server.url, Some(CANARY)));
        let told = source
            .ask(BAD.parse().unwrap(), Severity::Low)
            .await
            .unwrap_err()
            .to_string();
        let known = [
            "signed by nobody this machine trusts",
            "install your system's `ca-certificates`",
        ];
        assert!(known.iter().any(|why| told.contains(why)), "{}: {told}", p.name);
    }
    assert!(server.requests().is_empty());
}
