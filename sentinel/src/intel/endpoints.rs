//! Who is asked, by name: so that nobody blocks them.

use super::feeds::Feed;
use crate::config::{CacheBackend, IntelConfig};
use reqwest::Url;

/// The servers of what is enabled: what each is for, and its host.
pub fn endpoints(config: &IntelConfig) -> Vec<(String, String)> {
    if !config.enabled {
        return Vec::new();
    }
    let on = config.sources.each().into_iter().filter(|(_, source)| source.on());
    let sources = on.filter_map(|(name, source)| Some((format!("intel source {name}"), host(&source.url)?)));
    let feeds = config.feeds.enabled.iter().filter_map(|name| {
        let feed = Feed::built_in(name)?;
        Some((format!("feed {name}"), host(&feed.url)?))
    });
    // A file of this machine is no URL.
    let own = config.feeds.custom.iter();
    let own = own.filter_map(|feed| Some((format!("feed {}", feed.name), host(feed.place.expose())?)));
    let shared = match &config.cache {
        CacheBackend::Memory => None,
        CacheBackend::Redis(url) => host(url.expose()).map(|host| ("the shared cache".to_owned(), host)),
    };
    sources.chain(feeds).chain(own).chain(shared).collect()
}

fn host(url: &str) -> Option<String> {
    Url::parse(url).ok()?.host_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, CustomFeed, Switch};
    use crate::types::Secret;

    #[test]
    fn every_server_that_is_asked_is_named_and_no_other_and_no_secret() {
        let mut config = Config::default().intel;
        assert_eq!(endpoints(&config), []);
        config.sources.otx.enabled = Switch::On;
        config.feeds.enabled = vec!["feodo".to_owned()];
        let custom = |name: &str, place: &str| CustomFeed {
            name: name.to_owned(),
            place: Secret::new(place.to_owned()),
        };
        config.feeds.custom = vec![
            custom("mine", "/etc/sentinel/blocked.txt"),
            custom("far", "https://user:pass@lists.example.org/bad.txt?key=secret"),
        ];
        config.cache = CacheBackend::Redis(Secret::new("redis://:secret@[2001:db8::5]:6379/0".to_owned()));
        let told: Vec<String> = endpoints(&config)
            .into_iter()
            .map(|(what, host)| format!("{what}: {host}"))
            .collect();
        assert_eq!(
            told,
            [
                "intel source otx: otx.alienvault.com",
                "feed feodo: feodotracker.abuse.ch",
                "feed far: lists.example.org",
                "the shared cache: [2001:db8::5]",
            ]
        );
        config.enabled = false;
        assert_eq!(endpoints(&config), []);
    }
}
