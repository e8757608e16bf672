//! What the settings need of the system once everything is attached: places, ports, programs.

use crate::config::{BusBackend, CacheBackend, Config, Hook, NamedPlace, ProbeKind, RedisKind, SyslogAddress, places};
use crate::intel::feeds::Feed;
use crate::kernel::probe;
use crate::nft::program_path as nft_program;
use crate::sandbox::{Keeps, Reach, Sandbox};
use crate::types::{Component, Condition, Health};
use reqwest::Url;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// Directories that are never readable for the sake of one file in them.
const WHOLE: [&str; 2] = ["/", "/root"];
/// Where HTTP goes by, as reqwest reads them.
const PROXIES: [&str; 6] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What the agent gives up once it runs; `files` are those its settings were read from.
///
/// # Errors
/// Where no filter of system calls can be made for this processor.
pub(crate) fn sandbox(config: &Config, files: &[PathBuf]) -> anyhow::Result<Sandbox> {
    if !config.sandbox.enabled {
        return Ok(Sandbox::none());
    }
    let nft = config.kernel.hook == Hook::Nftables;
    let keeps = Keeps::for_what(!nft && probe::maps_need_privilege(), nft);
    Sandbox::new(reach(config, files), keeps)
}

/// From here on the calling thread has no more than the others; what came of it is told.
pub(super) fn seal(sandbox: &Sandbox, health: &watch::Sender<Arc<Health>>) {
    sandbox.confine();
    let condition = match sandbox.told() {
        Ok(detail) => {
            tracing::info!(detail, "sandbox");
            Condition::Ok { detail }
        }
        Err(cause) => {
            tracing::error!(cause, "the agent keeps rights it does not need");
            Condition::Degraded {
                cause,
                mend: "report this with the kernel's version; `sandbox.enabled: false` does without".to_owned(),
            }
        }
    };
    health.send_if_modified(|board| Health::note(board, Component::Sandbox, condition));
}

/// Whether the running agent may still do what other settings need beyond those it was started with: what these need it has, or
/// goes without, whatever links lead elsewhere by now.
pub(super) fn fits(sandbox: Sandbox, start: Arc<Config>) -> Arc<dyn Fn(&Config) -> bool + Send + Sync> {
    Arc::new(move |other| sandbox.covers(&reach(other, &[]).beyond(&reach(&start, &[]))))
}

/// What a configuration needs; `files` are those it was read from, which are read again.
pub(super) fn reach(config: &Config, files: &[PathBuf]) -> Reach {
    let mut reach = Reach {
        connect: ports(config),
        run: (config.kernel.hook == Hook::Nftables).then(nft_program).flatten(),
        ..Reach::default()
    };
    for place in places(config) {
        match place {
            NamedPlace::Write(path) => {
                reach.write.insert(path);
            }
            NamedPlace::Read(path) => reads(&mut reach, &path),
        }
    }
    if let Some(socket) = config.api.socket.parent() {
        reach.write.insert(socket.to_owned());
    }
    for file in files {
        reads(&mut reach, file);
    }
    if let Some(file) = std::env::var_os("SSL_CERT_FILE") {
        reads(&mut reach, Path::new(&file));
    }
    if let Some(folders) = std::env::var_os("SSL_CERT_DIR") {
        reach.read.extend(std::env::split_paths(&folders));
    }
    // A socket of another user's is reached by a capability only, as a file of his is.
    reach.files.extend(config.containers.engine.clone());
    reach
}

/// A file by the directory it is in, and what it is a link to likewise: whoever changes one lays another in its place.
fn reads(reach: &mut Reach, file: &Path) {
    let real = std::fs::canonicalize(file).ok();
    reach.files.insert(file.to_owned());
    for path in [Some(file.to_owned()), real].into_iter().flatten() {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        // Of what holds everything, or the keys of whoever runs it, the file and no more: laying another in its place takes a restart.
        let whole = WHOLE.iter().all(|other| folder != Path::new(other));
        reach.read.insert(if whole { folder.to_owned() } else { path.clone() });
    }
}

/// The TCP ports of all servers that are asked and told; `None` where a server names others.
fn ports(config: &Config) -> Option<BTreeSet<u16>> {
    let named = config.bus.redis().is_some_and(|place| place.kind != RedisKind::Single);
    if named && matches!(config.bus, BusBackend::Redis(_)) {
        return None;
    }
    let mut urls: Vec<String> = Vec::new();
    let mut ports = BTreeSet::<u16>::new();
    let intel = &config.intel;
    urls.extend(intel.sources.each().into_iter().map(|(_, source)| source.url.clone()));
    urls.extend(
        intel
            .feeds
            .enabled
            .iter()
            .filter_map(|name| Some(Feed::built_in(name)?.url.into_owned())),
    );
    urls.extend(intel.feeds.custom.iter().map(|feed| feed.place.expose().to_owned()));
    urls.push(intel.feeds.crowdsec.url.clone());
    if let CacheBackend::Redis(url) = &intel.cache {
        urls.push(url.expose().to_owned());
    }
    let alerting = &config.alerting;
    urls.extend(alerting.slack.url.iter().map(|url| url.expose().to_owned()));
    urls.extend(alerting.webhook.url.iter().map(|url| url.0.expose().to_owned()));
    if alerting.email.host.is_some() {
        ports.extend(u16::try_from(alerting.email.port));
    }
    if let Some(SyslogAddress::Tcp(_, port) | SyslogAddress::Tls(_, port)) = &alerting.syslog.address {
        ports.insert(*port);
    }
    urls.push(config.export.elasticsearch.server.url.clone());
    urls.push(config.export.splunk.server.url.clone());
    urls.push(config.bettercap.url.clone());
    for probe in &config.probes {
        match &probe.how {
            ProbeKind::Tcp { port, .. } => {
                ports.insert(*port);
            }
            ProbeKind::Http => urls.push(probe.text.clone()),
        }
    }
    ports.extend(
        config
            .bus
            .redis()
            .into_iter()
            .flat_map(|place| place.hosts.iter().map(|(_, port)| *port)),
    );
    for proxy in PROXIES.iter().filter_map(|name| std::env::var(name).ok()) {
        // A scheme may be left out.
        let url = if proxy.contains("://") {
            proxy
        } else {
            format!("http://{proxy}")
        };
        urls.push(url);
    }
    ports.extend(urls.iter().filter_map(|url| port(url)));
    Some(ports)
}

/// The port of a URL, as whoever connects has it.
fn port(url: &str) -> Option<u16> {
    let url = Url::parse(url).ok()?;
    url.port_or_known_default().or(match url.scheme() {
        "redis" | "rediss" => Some(6379),
        "socks4" | "socks4a" | "socks5" | "socks5h" => Some(1080),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Secret;

    #[test]
    fn the_ports_are_those_of_whom_the_settings_name() {
        let mut config = Config::default();
        config.intel.cache = CacheBackend::Redis(Secret::new("redis://cache.example.org/1"));
        config.export.splunk.server.url = "https://splunk.example.org:8088".into();
        config.alerting.slack.url = Some(Secret::new("https://hooks.example.org/x"));
        let reach = reach(&config, &["/etc/sentinel/settings.yml".into()]);
        let ports = reach.connect.clone().expect("known");
        for port in [443, 6379, 8088] {
            assert!(ports.contains(&port), "{port} of {ports:?}");
        }
        assert!(!ports.contains(&22) && !ports.contains(&4444), "{ports:?}");
        assert!(reach.read.contains(Path::new("/etc/sentinel")), "{reach:?}");
        assert!(reach.write.contains(Path::new("data")), "{reach:?}");
        assert_eq!(reach.run, None);
        config.kernel.hook = Hook::Nftables;
        assert_eq!(super::reach(&config, &[]).run, nft_program());
    }
}
