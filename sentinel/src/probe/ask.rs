//! Asks everybody at once.

use crate::config::{Probe, ProbeKind};
use futures_util::future::join_all;
use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Headers of an answer at most; hyper bounds their bytes.
const HEADERS: usize = 64;
/// Status from which on a server says that it does not work.
const BROKEN: u16 = 500;
/// What the system says where it wants for something itself.
const OWN: [i32; 5] = [
    libc::EMFILE,
    libc::ENFILE,
    libc::ENOBUFS,
    libc::EADDRNOTAVAIL,
    libc::ENOMEM,
];

/// What asking one probe came to.
pub type Answer = Result<(), ProbeError>;

/// Why a probe did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// It was asked, and was silent or says that it does not work.
    #[error("{0}")]
    Silent(String),
    /// The trouble is our own or the resolver's, and says nothing of it.
    #[error("it could not be asked: {0}")]
    NotAsked(String),
}

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
    pub async fn round(&self) -> Vec<Answer> {
        let until = Instant::now() + self.patience;
        let asked = self.probes.iter().map(|probe| self.ask(probe, until));
        join_all(asked).await
    }

    async fn ask(&self, probe: &Probe, until: Instant) -> Answer {
        let within = self.patience.as_millis();
        // Apart from the question, so that a resolver that hangs is not taken for a probe that is silent.
        let Ok(addresses) = timeout_at(until, resolve(probe)).await else {
            let why = format!("its name was not resolved within {within} ms");
            return Err(ProbeError::NotAsked(why));
        };
        let addresses = addresses?;
        match timeout_at(until, self.exchange(probe, &addresses)).await {
            Ok(answer) => answer,
            Err(_) => Err(ProbeError::Silent(format!("no answer within {within} ms"))),
        }
    }

    async fn exchange(&self, probe: &Probe, addresses: &[SocketAddr]) -> Answer {
        match &probe.how {
            ProbeKind::Tcp { .. } => match TcpStream::connect(addresses).await {
                Ok(_) => Ok(()),
                Err(error) if is_own(&error) => Err(ProbeError::NotAsked(error.to_string())),
                Err(error) => Err(ProbeError::Silent(error.to_string())),
            },
            ProbeKind::Http => {
                let secure = probe.text.starts_with("https://");
                let client = if secure { &self.secure } else { &self.plain };
                let Some(client) = client else {
                    let why = "no certificates to trust; install your system's `ca-certificates`";
                    return Err(ProbeError::NotAsked(why.to_owned()));
                };
                match client.get(&probe.text).send().await {
                    Ok(answer) if answer.status().as_u16() < BROKEN => Ok(()),
                    Ok(answer) => Err(ProbeError::Silent(format!("it answers {}", answer.status().as_u16()))),
                    Err(error) => Err(failed(&error)),
                }
            }
        }
    }
}

/// The addresses of whom is asked, by the system's resolver.
async fn resolve(probe: &Probe) -> Result<Vec<SocketAddr>, ProbeError> {
    let (host, port) = match &probe.how {
        ProbeKind::Tcp { host, port } => (host.clone(), *port),
        ProbeKind::Http => {
            let url = reqwest::Url::parse(&probe.text).map_err(|error| ProbeError::NotAsked(error.to_string()))?;
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            (host, url.port_or_known_default().unwrap_or_default())
        }
    };
    let found = tokio::net::lookup_host((host.as_str(), port)).await;
    let found = found.map_err(|error| ProbeError::NotAsked(format!("its name does not resolve: {error}")))?;
    Ok(found.collect())
}

/// Whether a connection failed for want of something here.
fn is_own(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| OWN.contains(&code))
}

/// What was wanting here, where that is among an error's causes.
fn own_trouble(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(inner) = next {
        let own = inner.downcast_ref::<io::Error>().filter(|error| is_own(error));
        if let Some(own) = own {
            return Some(own.to_string());
        }
        next = inner.source();
    }
    None
}

/// Why a request failed, in our own words: the library's may hold what a server sent.
fn failed(error: &reqwest::Error) -> ProbeError {
    if let Some(why) = own_trouble(error) {
        return ProbeError::NotAsked(why);
    }
    if error.is_dns() {
        return ProbeError::NotAsked("its name does not resolve".to_owned());
    }
    let why = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke off"
    };
    ProbeError::Silent(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("a request failed")]
    struct Request(#[source] io::Error);

    #[test]
    fn what_is_wanting_here_is_told_from_what_the_other_side_says() {
        for (code, own) in [
            (libc::EMFILE, true),
            (libc::ENFILE, true),
            (libc::ENOBUFS, true),
            (libc::EADDRNOTAVAIL, true),
            (libc::ENOMEM, true),
            (libc::ECONNREFUSED, false),
            (libc::ECONNRESET, false),
            (libc::EHOSTUNREACH, false),
            (libc::ETIMEDOUT, false),
        ] {
            let error = Request(io::Error::from_raw_os_error(code));
            assert_eq!(own_trouble(&error).is_some(), own, "{}", error.0);
        }
    }

    #[tokio::test]
    async fn whose_name_cannot_be_resolved_was_not_asked() {
        let http = Probe {
            text: "http://nobody.invalid/health".to_owned(),
            how: ProbeKind::Http,
        };
        let tcp = Probe {
            text: "tcp://nobody:80".to_owned(),
            how: ProbeKind::Tcp {
                host: "no such name".to_owned(),
                port: 80,
            },
        };
        let answers = Asker::new(&[http, tcp], Duration::from_secs(1)).round().await;
        assert_eq!(answers.len(), 2);
        for answer in answers {
            assert!(matches!(answer, Err(ProbeError::NotAsked(_))), "{answer:?}");
        }
    }
}
