//! The example of the documentation is the one that is compiled and asked here.

use super::super::body;
use super::super::testing::{Script, Server, http, json};
use super::crowdsec::{self, CrowdSec};
use super::{BAD, CANARY, recorded, sources};
use crate::intel::{IntelError, IntelSource};
use crate::types::{IntelVerdict, Severity};

async fn told(script: Script) -> (Result<crate::intel::Reply, IntelError>, Server) {
    let server = Server::start(script).await;
    let config = sources("virustotal", &server.url, Some(CANARY)).virustotal;
    let client = CrowdSec::new(&config).unwrap();
    assert_eq!(client.profile().name, "crowdsec");
    (client.ask(BAD.parse().unwrap(), Severity::Low).await, server)
}

#[tokio::test]
async fn a_seventh_source_is_asked_and_read() {
    let hit = recorded!("crowdsec_hit");
    let (reply, server) = told(Script::Say(json(hit))).await;
    let indicator = reply.unwrap().indicator;
    assert_eq!((indicator.verdict, indicator.score), (IntelVerdict::Malicious, 0.9));
    assert_eq!(indicator.categories, ["ssh bruteforce", "tcp scan"]);
    let read = body::parse::<crowdsec::Answer>(hit.as_bytes()).unwrap();
    assert_eq!(crowdsec::indicator(&read, indicator.ip, indicator.asked_at), indicator);
    let request = &server.requests()[0];
    assert!(request.starts_with("GET /v2/smoke/203.0.113.45 HTTP/1.1"), "{request}");
    assert!(request.contains(&format!("x-api-key: {CANARY}")), "{request}");

    let unknown = br#"{"message": "IP address information not found"}"#;
    let (reply, _server) = told(Script::Say(http("404 Not Found", &[], unknown))).await;
    assert_eq!(reply.unwrap().indicator.verdict, IntelVerdict::Unknown);
    let (reply, _server) = told(Script::Say(http("404 Not Found", &[], b"{}"))).await;
    assert_eq!(reply, Err(IntelError::Malformed("`message`".to_owned())));
}

#[test]
fn the_documentation_shows_what_is_compiled() {
    let docs = include_str!("../../../../../docs/intel-sources.md");
    let code = include_str!("crowdsec.rs").replace("super::super::", "super::");
    assert!(
        docs.contains(code.trim_end()),
        "docs/intel-sources.md shows other code than crowdsec.rs"
    );
}
