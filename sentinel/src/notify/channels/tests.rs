//! Each channel against a server that plays the other side.

use super::super::letter::Sender;
use super::*;
use crate::config::{SyslogAddress, SyslogFormat};
use crate::types::{Mint, Secret, Severity, Timestamp};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram};

const AT: Timestamp = Timestamp(1_768_046_400_000_000_000);
const HOSTILE: &str =
    "<!channel> <script>alert(1)</script> \u{202e}x \u{1b}[31m \" ] | = \\ \r\nBcc: victim@example.org";

fn letter() -> Letter {
    let from = Sender {
        host: "guard".to_owned(),
        dashboard: "http://127.0.0.1:8000".to_owned(),
    };
    let mut letter = Letter::test(HOSTILE, Mint::Counted(7).message(AT), AT, &from);
    letter.severity = Some(Severity::High);
    letter.values.insert("severity", "high".to_owned());
    letter.values.insert("source", HOSTILE.replace(char::is_control, " "));
    letter
        .sections
        .push(("Why", vec![super::super::letter::clean(HOSTILE)]));
    letter
}

/// What came, head and body.
type Requests = Arc<Mutex<Vec<(String, String)>>>;

/// An HTTP server that answers as told, the last answer for ever; an empty one hangs.
async fn server(answers: &'static [&'static str]) -> (SocketAddr, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let requests = Requests::default();
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        let mut turn = 0;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = request(&mut stream).await;
            seen.lock().unwrap().push(request);
            let answer = answers[turn.min(answers.len() - 1)];
            turn += 1;
            if answer.is_empty() {
                tokio::time::sleep(Duration::from_secs(30)).await;
            }
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (at, requests)
}

async fn request(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        let mut some = [0; 4096];
        let n = stream.read(&mut some).await.unwrap();
        bytes.extend_from_slice(&some[..n]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")
                    .map(str::to_owned)
            });
            if length.is_some_and(|length| body.len() >= length.parse().unwrap()) {
                return (head.to_owned(), body.to_owned());
            }
        }
        if n == 0 {
            return (text.into_owned(), String::new());
        }
    }
}

/// For an answer on a busy machine.
const PATIENT: Duration = Duration::from_secs(20);
/// Where none is to come.
const HASTY: Duration = Duration::from_millis(500);

fn to(url: &str) -> AlertingConfig {
    let mut config = AlertingConfig::default();
    config.webhook.url = Some(crate::config::WebUrl(Secret::new(url)));
    config.webhook.secret = Some(Secret::new("hunter2"));
    config.slack.url = Some(Secret::new(url));
    config.webhook.timeout = PATIENT;
    config.slack.timeout = PATIENT;
    config
}

async fn deliver(config: &AlertingConfig, kind: ChannelKind) -> Result<(), ChannelError> {
    let channels = build(config);
    let channel = channels.iter().find(|channel| channel.kind() == kind).unwrap();
    channel.deliver(&letter()).await
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

#[tokio::test]
async fn a_webhook_gets_all_that_is_known_signed_and_named() {
    let (at, requests) = server(&[OK]).await;
    let mut config = to(&format!("http://{at}/in?key=s3cret"));
    config.webhook.headers = vec![crate::config::HeaderLine {
        name: "X-Team".to_owned(),
        value: Secret::new("blue"),
    }];
    deliver(&config, ChannelKind::Webhook).await.unwrap();
    let (head, body) = requests.lock().unwrap()[0].clone();
    let header = |name: &str| {
        let found = head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    assert!(head.starts_with("POST /in?key=s3cret HTTP/1.1"), "{head}");
    assert_eq!(
        (header("x-team"), header("x-sentinel-event")),
        ("blue".into(), "test".into())
    );
    assert_eq!(header("x-sentinel-delivery"), letter().id.to_string());
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&told["version"], &told["kind"], &told["host"]),
        (&1.into(), &"test".into(), &"guard".into())
    );
    // As a receiver checks it, by another tool.
    let signed = format!("{}.{body}", header("x-sentinel-timestamp"));
    let mut child = std::process::Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", "hunter2"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), signed.as_bytes()).unwrap();
    let out = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let hex = out.trim().rsplit(' ').next().unwrap();
    assert_eq!(header("x-sentinel-signature"), format!("v1={hex}"));
}

#[tokio::test]
async fn what_a_receiver_answers_says_with_whom_the_fault_is() {
    for (answer, fault, cause, after) in [
        (
            "HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
            Fault::Away,
            "answered 429: too many messages",
            Some(7),
        ),
        (
            "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
            Fault::Away,
            "answered 500",
            None,
        ),
        (
            "HTTP/1.1 503 X\r\nRetry-After: 99999999\r\nContent-Length: 0\r\n\r\n",
            Fault::Away,
            "answered 503",
            Some(3600),
        ),
        (
            "HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n",
            Fault::Settings,
            "answered 401",
            None,
        ),
        (
            "HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n",
            Fault::Settings,
            "answered 404",
            None,
        ),
        (
            "HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            Fault::Settings,
            "answered 302, a redirect, which is not followed",
            None,
        ),
        (
            "HTTP/1.1 422 X\r\nContent-Length: 0\r\n\r\n",
            Fault::Letter,
            "answered 422",
            None,
        ),
        ("", Fault::Away, "did not answer within 500ms", None),
        ("nonsense\r\n\r\n", Fault::Away, "the connection broke off", None),
    ] {
        let answers: &'static [&'static str] = vec![answer].leak();
        let (at, _) = server(answers).await;
        let mut config = to(&format!("http://{at}/T0/s3cret"));
        if answer.is_empty() {
            config.webhook.timeout = HASTY;
        }
        let error = deliver(&config, ChannelKind::Webhook).await.unwrap_err();
        assert_eq!(
            (error.fault, error.cause.as_str(), error.after.map(|d| d.as_secs())),
            (fault, cause, after),
            "{answer}"
        );
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = deliver(&to(&format!("http://{nobody}/T0/s3cret")), ChannelKind::Webhook)
        .await
        .unwrap_err();
    assert_eq!((error.fault, error.cause.as_str()), (Fault::Away, "no connection"));
    let error = deliver(&to("http://no-such-name.invalid/T0/s3cret"), ChannelKind::Webhook)
        .await
        .unwrap_err();
    assert_eq!(error.cause, "its name does not resolve");
    assert!(!format!("{:?}", build(&to("http://a/s3cret"))).contains("s3cret"));
}

#[tokio::test]
async fn slack_gets_blocks_and_says_what_is_wrong() {
    let no = "HTTP/1.1 404 X\r\nContent-Length: 10\r\nConnection: close\r\n\r\nno_service";
    let bad = "HTTP/1.1 400 X\r\nContent-Length: 15\r\nConnection: close\r\n\r\ninvalid_payload";
    let other = "HTTP/1.1 500 X\r\nContent-Length: 7\r\nConnection: close\r\n\r\n<b>x</b>";
    let answers: &'static [&'static str] = vec![OK, no, bad, other].leak();
    let (at, requests) = server(answers).await;
    let config = to(&format!("http://{at}/services/T0/B0/s3cret"));
    deliver(&config, ChannelKind::Slack).await.unwrap();
    let body: Value = serde_json::from_str(&requests.lock().unwrap()[0].1).unwrap();
    assert_eq!(body["attachments"][0]["color"], "#c62828");
    let text = body.to_string();
    assert!(
        !text.contains("<!channel>") && !text.contains('\u{202e}') && text.contains("&lt;!channel&gt;"),
        "{text}"
    );
    let mut said = Vec::new();
    for _ in 0..3 {
        let error = deliver(&config, ChannelKind::Slack).await.unwrap_err();
        said.push((error.fault, error.cause));
    }
    assert_eq!(
        said,
        [
            (Fault::Settings, "answered 404 (no_service)".to_owned()),
            (Fault::Letter, "answered 400 (invalid_payload)".to_owned()),
            (Fault::Away, "answered 500".to_owned()),
        ]
    );
}

/// Where requests have no business, however it is spelled: services of clouds that tell keys (AWS, Azure, GCP, Oracle,
/// Alibaba, DigitalOcean, OpenStack, ECS, EKS), link-local, unspecified, multicast and broadcast addresses.
const NO_BUSINESS: [&str; 64] = [
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.169.254/latest/api/token",
    "http://169.254.169.254/metadata/instance?api-version=2021-02-01",
    "http://169.254.169.254/computeMetadata/v1/",
    "http://169.254.169.254/opc/v2/instance/",
    "http://169.254.169.254/openstack/latest/meta_data.json",
    "http://169.254.169.254/metadata/v1.json",
    "http://169.254.170.2/v2/credentials",
    "http://169.254.170.23/v1/credentials",
    "http://169.254.1.1/",
    "http://169.254.0.0/",
    "http://169.254.255.255/",
    "http://169.254.169.253/",
    "http://169.254.169.123/",
    "http://2852039166/",
    "http://0xA9FEA9FE/",
    "http://0xa9fea9fe/",
    "http://0xa9.0xfe.0xa9.0xfe/",
    "http://0xa9.254.0xa9.254/",
    "http://0251.0376.0251.0376/",
    "http://0251.254.169.254/",
    "http://00000251.00000376.00000251.00000376/",
    "http://025177524776/",
    "http://169.254.43518/",
    "http://169.16689662/",
    "http://169.254.0xa9fe/",
    "http://169.0xfea9fe/",
    "http://169.254.169.254./",
    "http://[fe80::1]/",
    "http://[fe80::a9fe:a9fe]/",
    "http://[febf:ffff::1]/",
    "http://[FE80:0:0:0:0:0:0:1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[0:0:0:0:0:ffff:169.254.169.254]/",
    "http://[0000:0000:0000:0000:0000:FFFF:A9FE:A9FE]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b::169.254.169.254]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://[2002:a9fe:a9fe:1::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fd00:0ec2:0:0:0:0:0:0254]/",
    "http://[::]/",
    "http://[0:0:0:0:0:0:0:0]/",
    "http://[::ffff:0.0.0.0]/",
    "http://0.0.0.0/",
    "http://0.0/",
    "http://0/",
    "http://0x0/",
    "http://100.100.100.200/",
    "http://0x646464c8/",
    "http://192.0.0.192/",
    "http://224.0.0.1/",
    "http://239.255.255.250:1900/",
    "http://255.255.255.255/",
    "http://[ff02::1]/",
    "http://user@169.254.169.254/",
    "http://example.com@169.254.169.254/",
    "http://example.com:80@169.254.169.254/",
    "http://169.254.169.254:80/?x=http://example.com",
    "http://169.254.169.254\\@example.com/",
    "http://１６９.254.169.254/",
    "http://169。254。169。254/",
    "https://169.254.169.254/",
];

#[tokio::test]
async fn webhooks_lead_nowhere_they_have_no_business() {
    for url in NO_BUSINESS {
        for kind in [ChannelKind::Webhook, ChannelKind::Slack] {
            let error = deliver(&to(url), kind).await.unwrap_err();
            assert_eq!(error.fault, Fault::Settings, "{kind:?} {url}: {error}");
            assert!(error.cause.starts_with("it leads to"), "{kind:?} {url}: {error}");
        }
    }
    // Allowed, it is tried.
    let mut config = to("http://169.254.169.254:9/");
    config.allow_link_local = true;
    config.webhook.timeout = HASTY;
    let error = deliver(&config, ChannelKind::Webhook).await.unwrap_err();
    assert!(!error.cause.starts_with("it leads to"), "{error}");
}

#[tokio::test]
async fn a_body_of_one_s_own_is_filled_in() {
    let (at, requests) = server(&[OK]).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.yml");
    let text = format!(
        "alerting:\n  webhook: {{ url: \"http://{at}/\", body: '{{\"text\": \"[{{severity}}] {{source}}\", \"n\": 3}}' }}\n"
    );
    std::fs::write(&file, text).unwrap();
    let config = crate::config::load(&[file], []).unwrap().alerting;
    deliver(&config, ChannelKind::Webhook).await.unwrap();
    let body: Value = serde_json::from_str(&requests.lock().unwrap()[0].1).unwrap();
    assert_eq!(
        body["text"],
        format!("[high] {}", HOSTILE.replace(char::is_control, " "))
    );
    assert_eq!(body.as_object().unwrap().len(), 2);
}

fn syslog(address: SyslogAddress, format: SyslogFormat) -> AlertingConfig {
    let mut config = AlertingConfig::default();
    config.syslog.address = Some(address);
    config.syslog.format = format;
    config.syslog.timeout = PATIENT;
    config
}

#[tokio::test]
async fn syslog_goes_by_every_way() {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = udp.local_addr().unwrap().port();
    deliver(
        &syslog(SyslogAddress::Udp("127.0.0.1".into(), port), SyslogFormat::Rfc5424),
        ChannelKind::Syslog,
    )
    .await
    .unwrap();
    let mut bytes = [0; 4096];
    let n = udp.recv(&mut bytes).await.unwrap();
    let line = std::str::from_utf8(&bytes[..n]).unwrap();
    let pid = std::process::id();
    assert!(
        line.starts_with(&format!(
            "<130>1 2026-01-10T12:00:00.000000Z guard sentinel {pid} test [sentinel@32473 "
        )),
        "{line}"
    );
    // RFC 5424, 6.3.3.
    assert!(
        line.contains(r#"\" \] | = \\"#) && line.contains("] Test from guard: "),
        "{line}"
    );
    assert!(!line.chars().any(char::is_control), "{line:?}");

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let unix = UnixDatagram::bind(&path).unwrap();
    deliver(
        &syslog(SyslogAddress::Unix(path.clone()), SyslogFormat::Cef),
        ChannelKind::Syslog,
    )
    .await
    .unwrap();
    let n = unix.recv(&mut bytes).await.unwrap();
    let line = std::str::from_utf8(&bytes[..n]).unwrap();
    assert!(
        line.contains(" - CEF:0|Sentinel|Sentinel|") && line.contains("|test|Test from guard|9|rt=1768046400000 "),
        "{line}"
    );
    assert!(line.contains(r"\=") && line.contains(r"\\"), "{line}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = syslog(SyslogAddress::Tcp("127.0.0.1".into(), port), SyslogFormat::Rfc5424);
    let channels = build(&config);
    let channel = channels
        .iter()
        .find(|channel| channel.kind() == ChannelKind::Syslog)
        .unwrap();
    let receive = |mut stream: TcpStream| async move {
        let mut all = vec![0; 4096];
        let n = stream.read(&mut all).await.unwrap();
        let text = String::from_utf8(all[..n].to_vec()).unwrap();
        let (length, rest) = text.split_once(' ').unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), rest.len(), "RFC 6587, 3.4.1");
        stream
    };
    let one = letter();
    let (sent, stream) = tokio::join!(channel.deliver(&one), async {
        receive(listener.accept().await.unwrap().0).await
    });
    sent.unwrap();
    // The receiver goes away and comes back: the next message finds it, none is lost unnoticed.
    drop(stream);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (sent, _) = tokio::join!(channel.deliver(&one), async {
        receive(listener.accept().await.unwrap().0).await
    });
    sent.unwrap();
    drop(listener);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = channel.deliver(&one).await.unwrap_err();
    assert_eq!(
        (error.fault, error.cause.as_str()),
        (Fault::Away, "nobody listens there")
    );
    std::fs::remove_file(&path).unwrap();
    let error = deliver(
        &syslog(SyslogAddress::Unix(path), SyslogFormat::Cef),
        ChannelKind::Syslog,
    )
    .await
    .unwrap_err();
    assert_eq!(error.cause, "there is no such socket or name");
}

#[tokio::test]
async fn a_file_gets_lines_and_a_folder_that_is_none_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = AlertingConfig::default();
    config.file.path = Some(directory.path().join("log/alerts.jsonl"));
    deliver(&config, ChannelKind::File).await.unwrap();
    deliver(&config, ChannelKind::File).await.unwrap();
    let text = std::fs::read_to_string(directory.path().join("log/alerts.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["kind"]), (2, &"test".into()));
    config.file.path = Some("/proc/sentinel/alerts.jsonl".into());
    let error = deliver(&config, ChannelKind::File).await.unwrap_err();
    assert!(error.cause.starts_with("/proc/sentinel/alerts.jsonl: "), "{error}");
}
