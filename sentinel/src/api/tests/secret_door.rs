//! TLS in front of the port.

use super::*;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/api/testdata")
        .join(name)
}

fn secret(house: &House, listen: &str) -> ApiConfig {
    ApiConfig {
        certificate: Some(testdata("certificate.pem")),
        private_key: Some(testdata("key.pem")),
        ..doors_at(listen, &house.directory.path().join("s"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_over_tls_is_answered_with_a_cookie_for_tls_alone() {
    let mut house = House::new();
    let config = secret(&house, "127.0.0.1:0");
    house.state.config = Arc::new(Config {
        api: config.clone(),
        ..Config::default()
    });
    let doors = Doors::take(&config).await.unwrap();
    let address = doors.local_addr().unwrap();
    let server = tokio::spawn(doors.open(house.state.clone(), house.cancel.clone()));
    assert_eq!(config.url(address), format!("https://{address}"));

    // One that never shakes hands, and one that does not know that it should: neither holds anybody up.
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain
        .write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut heard = Vec::new();
    plain.read_to_end(&mut heard).await.unwrap();
    assert!(!heard.starts_with(b"HTTP"), "{heard:?}");

    let root = reqwest::Certificate::from_pem(&std::fs::read(testdata("certificate.pem")).unwrap()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
    let code = house.state.auth.link(now()).unwrap();
    let login = client
        .post(format!("https://{address}/login"))
        .header("origin", format!("https://{address}"))
        .json(&json!({ "code": code }))
        .send()
        .await
        .unwrap();
    assert_eq!(login.status(), 200);
    let cookie = login.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("; Secure"), "{cookie}");
    let session = cookie.split(';').next().unwrap();
    let who = client
        .get(format!("https://{address}/session"))
        .header("cookie", session)
        .send()
        .await
        .unwrap();
    assert_eq!(who.status(), 200);
    let foreign = client
        .post(format!("https://{address}/logout"))
        .header("cookie", session)
        .header("origin", format!("http://{address}"))
        .json(&json!({}));
    assert_eq!(
        foreign.send().await.unwrap().status(),
        403,
        "a page that came in the clear may be anybody's"
    );
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn elsewhere_than_on_loopback_only_with_a_certificate_that_can_be_used() {
    let house = House::new();
    Doors::take(&secret(&house, "0.0.0.0:0")).await.unwrap();
    let none = doors_at("0.0.0.0:0", &house.directory.path().join("s"));
    let error = Doors::take(&none).await.unwrap_err().to_string();
    assert!(error.contains("api.tls"), "{error}");
    for (certificate, key, words) in [
        ("missing.pem", "key.pem", "missing.pem"),
        ("key.pem", "key.pem", "no certificate in it"),
        ("certificate.pem", "certificate.pem", "certificate.pem: "),
    ] {
        let config = ApiConfig {
            certificate: Some(testdata(certificate)),
            private_key: Some(testdata(key)),
            ..secret(&house, "127.0.0.1:0")
        };
        let error = Doors::take(&config).await.unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("PEM"), "{error}");
    }
}
