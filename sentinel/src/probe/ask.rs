//! Asks everybody at once.

use crate::config::{Probe, ProbeKind};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::net::TcpStream;

/// Headers of an answer at most; hyper bounds their bytes.
const HEADERS: usize = 64;
/// Status from which on a server says that it does not work.
const BROKEN: u16 = 500;

/// Who is asked, and how.
pub struct Asker {
    probes: Vec<Probe>,
    patience: Duration,
    /// For `http` URLs: nobody to trust, so it works on a machine without certificates.
    plain: Option<reqwest::Client>,
    secure: Option<reqwest::Client>,
}

impl Asker {
    /// Asks these, each for at most `patience` from the name's resolution to the answer.
    pub fn new(probes: &[Probe], patience: Duration) -> Self {
        crate::tls::install();
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("sentinel/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .no_proxy()
                .http1_only()
                .http1_max_headers(HEADERS)
                // A connection that stands proves nothing of the next one.
                .pool_max_idle_per_host(0)
        };
        let asks = |scheme: &str| probes.iter().any(|probe| probe.text.starts_with(scheme));
        let plain = || builder().tls_certs_only([]).build().ok();
        let secure = || builder().build().ok();
        Self {
            probes: probes.to_vec(),
            patience,
            plain: asks("http://").then(plain).flatten(),
            secure: asks("https://").then(secure).flatten(),
        }
    }

    /// Asks each once, all at the same time. Of whom did not answer it is said why.
    pub async fn round(&self) -> Vec<Result<(), String>> {
        let asked = self.probes.iter().map(|probe| async {
            match tokio::time::timeout(self.patience, self.ask(probe)).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {} ms", self.patience.as_millis())),
            }
        });
        join_all(asked).await
    }

    async fn ask(&self, probe: &Probe) -> Result<(), String> {
        match &probe.how {
            ProbeKind::Tcp { host, port } => match TcpStream::connect((host.as_str(), *port)).await {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            ProbeKind::Http => {
                let secure = probe.text.starts_with("https://");
                let client = if secure { &self.secure } else { &self.plain };
                let client = client
                    .as_ref()
                    .ok_or("no certificates to trust; install your system's `ca-certificates`")?;
                match client.get(&probe.text).send().await {
                    Ok(answer) if answer.status().as_u16() < BROKEN => Ok(()),
                    Ok(answer) => Err(format!("it answers {}", answer.status().as_u16())),
                    Err(error) => Err(failed(&error).to_owned()),
                }
            }
        }
    }
}

/// Why a request failed, in our own words: the library's may hold what a server sent.
fn failed(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_dns() {
        "its name does not resolve"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke off"
    }
}
