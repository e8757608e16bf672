//! The session of a Bettercap: `GET` and `POST /api/session` (`modules/api_rest` of its source, 2.32).

use super::BettercapError;
use crate::config::BettercapConfig;
use crate::types::Secret;
use ipnet::Ipv4Net;
use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Longest answer that is read: a session with its hosts and caplets has hundreds of kilobytes.
const ANSWER: usize = 16 << 20;
/// Longest list of targets that is put back.
const LIST: usize = 1024;
/// The module that bans.
const MODULE: &str = "arp.spoof";
/// What of its parameters must be so, or a ban would be something else.
const PLAIN: [(&str, &str); 4] = [
    ("arp.spoof.fullduplex", "false"),
    ("arp.spoof.internal", "false"),
    ("arp.spoof.skip_restore", "false"),
    ("arp.spoof.whitelist", ""),
];
const TARGETS: &str = "arp.spoof.targets";

/// One Bettercap.
pub struct Session {
    client: reqwest::Client,
    url: String,
    login: Option<(String, Secret)>,
    timeout: Duration,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// What it is told. Its own default of the targets is the whole subnet, so that they are set before each [`Self::BanOn`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Whom `arp.ban on` is about.
    Targets(&'a BTreeSet<Ipv4Addr>),
    /// The targets as they were before we came, [`sayable`].
    Before(&'a str),
    /// Start; it reads its targets now.
    BanOn,
    /// Stop; it tells the targets the gateway's own address first.
    BanOff,
}

impl fmt::Display for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Targets(targets) => {
                write!(f, "set {TARGETS} ")?;
                for (n, target) in targets.iter().enumerate() {
                    write!(f, "{}{target}", if n == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Self::Before(text) => write!(f, "set {TARGETS} {text}"),
            Self::BanOn => f.write_str("arp.ban on"),
            Self::BanOff => f.write_str("arp.ban off"),
        }
    }
}

/// Whether a list of targets may be said to it again: addresses, MACs, ranges, aliases and its `<entire subnet>`.
pub fn sayable(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || " .,:/*-_<>".contains(c);
    !text.trim().is_empty() && text.len() <= LIST && text.chars().all(plain)
}

/// How it stands, as far as bans need to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The address of its interface.
    pub own: Ipv4Addr,
    /// What is on that link.
    pub network: Option<Ipv4Net>,
    /// The gateway it knows; its own address where it found none.
    pub gateway: Ipv4Addr,
    /// Whether `arp.spoof` runs, in whichever way.
    pub running: bool,
    /// Its targets, as they are written.
    pub targets: String,
    /// The first parameter that is not as a ban needs it.
    pub odd: Option<&'static str>,
    /// Whose MAC it knows.
    pub hosts: BTreeSet<Ipv4Addr>,
}

impl State {
    /// The targets, where they are nothing but addresses.
    pub fn listed(&self) -> Option<BTreeSet<Ipv4Addr>> {
        let each = self.targets.split(',');
        each.map(|word| word.trim().parse().ok()).collect()
    }
}

#[derive(Deserialize)]
struct Raw {
    interface: Endpoint,
    gateway: Option<Endpoint>,
    #[serde(default)]
    interfaces: Vec<Interface>,
    env: Env,
    lan: Lan,
    modules: Vec<Module>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default)]
    ipv4: String,
    #[serde(default)]
    mac: String,
}

#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    addresses: Option<Vec<Address>>,
}

#[derive(Deserialize)]
struct Address {
    address: String,
}

#[derive(Deserialize)]
struct Env {
    data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Lan {
    hosts: Option<Vec<Endpoint>>,
}

#[derive(Deserialize)]
struct Module {
    name: String,
    running: bool,
}

impl Endpoint {
    fn address(&self) -> Option<Ipv4Addr> {
        self.ipv4.parse().ok()
    }

    /// Whether its MAC is known: six bytes, not all of them zero.
    fn known(&self) -> bool {
        let bytes: Option<Vec<u8>> = self
            .mac
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).ok())
            .collect();
        bytes.is_some_and(|bytes| bytes.len() == 6 && bytes.iter().any(|byte| *byte != 0))
    }
}

impl Raw {
    fn state(self) -> Result<State, BettercapError> {
        let strange = BettercapError::Strange;
        let own = self.interface.address();
        let own = own.ok_or(strange("its interface has no IPv4 address"))?;
        let module = self.modules.iter().find(|module| module.name == MODULE);
        let module = module.ok_or(strange("it has no module `arp.spoof`"))?;
        let set = |name: &str| self.env.data.get(name).map(String::as_str);
        let addresses = self
            .interfaces
            .iter()
            .filter_map(|one| one.addresses.as_ref())
            .flatten();
        let network = addresses
            .filter_map(|one| one.address.parse::<Ipv4Net>().ok())
            .find(|net| net.addr() == own)
            .map(|net| net.trunc());
        let odd = PLAIN.iter().find(|(name, plain)| set(name) != Some(*plain));
        let hosts = self.lan.hosts.unwrap_or_default();
        Ok(State {
            own,
            network,
            gateway: self.gateway.and_then(|one| one.address()).unwrap_or(own),
            running: module.running,
            targets: set(TARGETS).unwrap_or_default().to_owned(),
            odd: odd.map(|(name, _)| *name),
            hosts: hosts
                .iter()
                .filter(|host| host.known())
                .filter_map(Endpoint::address)
                .collect(),
        })
    }
}

#[derive(Deserialize)]
struct Reply {
    success: bool,
}

impl Session {
    /// The one that the settings name. No proxy is used: it is on this machine.
    ///
    /// # Errors
    /// [`BettercapError::Settings`]: there is none, or no such file of certificates.
    pub fn new(config: &BettercapConfig) -> Result<Self, BettercapError> {
        crate::tls::install();
        let wrong = |cause: String, mend| BettercapError::Settings { cause, mend };
        let url = config
            .session()
            .ok_or_else(|| wrong("`bettercap.url` names no Bettercap".to_owned(), "name one"))?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("sentinel/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .http1_only()
            .http1_max_headers(64)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(10))
            .connect_timeout(config.timeout);
        if url.starts_with("http://") {
            // Nobody to trust, so it works on a machine without certificates.
            builder = builder.tls_certs_only([]);
        } else {
            // As its events are heard: by the very certificate that Bettercap made for itself, too.
            let tls = crate::tls::client(config.ca_file.as_deref()).map_err(|cause| {
                let mend = "name the certificate of Bettercap, or its issuer's, in `bettercap.ca_file`";
                wrong(cause.to_owned(), mend)
            })?;
            builder = builder.tls_backend_preconfigured(tls);
        }
        let client = builder.build().map_err(|_| {
            wrong(
                "no client can be made of the settings of `bettercap`".to_owned(),
                "see `bettercap.url`",
            )
        })?;
        let login = config
            .password
            .clone()
            .map(|password| (config.username.clone(), password));
        Ok(Self {
            client,
            url,
            login,
            timeout: config.timeout,
        })
    }

    /// How it stands now.
    ///
    /// # Errors
    /// [`BettercapError`].
    pub async fn state(&self) -> Result<State, BettercapError> {
        let (status, body) = self.ask(self.client.get(&self.url)).await?;
        if status != StatusCode::OK {
            return Err(BettercapError::Strange("it does not tell its session"));
        }
        let raw: Raw =
            serde_json::from_slice(&body).map_err(|_| BettercapError::Strange("its session is no such JSON"))?;
        raw.state()
    }

    /// Has it run one command. That it says yes does not mean that it is done: [`Session::state`] tells.
    ///
    /// # Errors
    /// [`BettercapError`]; then it may have run it or not.
    pub async fn run(&self, command: &Command<'_>) -> Result<(), BettercapError> {
        let said = command.to_string();
        let body = serde_json::json!({ "cmd": said }).to_string();
        let request = self.client.post(&self.url).header(CONTENT_TYPE, "application/json");
        let (status, body) = self.ask(request.body(body)).await?;
        let done = status.is_success() && serde_json::from_slice(&body).is_ok_and(|reply: Reply| reply.success);
        if done {
            return Ok(());
        }
        let short = match command {
            Command::Targets(_) | Command::Before(_) => format!("set {TARGETS}"),
            _ => said,
        };
        Err(BettercapError::Refused {
            command: short,
            status: status.as_u16(),
        })
    }

    async fn ask(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), BettercapError> {
        let asked = tokio::time::timeout(self.timeout, self.exchange(request));
        asked
            .await
            .unwrap_or(Err(BettercapError::Away("nothing within `bettercap.timeout`")))
    }

    async fn exchange(&self, mut request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), BettercapError> {
        if let Some((name, password)) = &self.login {
            request = request.basic_auth(name, Some(password.expose()));
        }
        let mut response = request.send().await.map_err(|error| failed(&error))?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(BettercapError::Login);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            if body.len() + chunk.len() > ANSWER {
                return Err(BettercapError::Strange("its answer is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }
}

/// Why there was no answer, in fixed words.
fn failed(error: &reqwest::Error) -> BettercapError {
    let mut refused = false;
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(inner) = next {
        let system = inner.downcast_ref::<io::Error>();
        refused |= system.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if inner.is::<rustls::Error>() {
            return BettercapError::Settings {
                cause: "the certificate of Bettercap is not trusted".to_owned(),
                mend: "name its issuer in `bettercap.ca_file`",
            };
        }
        next = inner.source();
    }
    if refused && error.is_connect() {
        return BettercapError::Nobody;
    }
    BettercapError::Away(if error.is_timeout() {
        "nothing in time"
    } else if error.is_connect() {
        // No descriptor or port left here, no route, no address for its name: it may run all the same.
        "it could not be reached from here"
    } else {
        "the connection broke off"
    })
}
