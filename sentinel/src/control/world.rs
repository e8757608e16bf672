//! Everybody who can be asked about an address, behind one door: feeds, sources, databases of places.

use super::Sources;
use crate::detect::Lists;
use crate::intel::feeds::{FEEDS, Feeds};
use crate::intel::geo::Geo;
use crate::intel::{Asked, Intel};
use crate::investigate::{Weigh, Weigher};
use crate::types::{Answer, Indicator, IntelReport, Severity};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use std::net::IpAddr;
use tokio::sync::{mpsc, watch};

/// How much the word of a feed counts.
const FEED: f64 = 0.7;
/// Answers to one question on their way; there are no more sources than this.
const ANSWERS: usize = 64;

/// The world outside. Cheap to clone.
#[derive(Clone)]
pub struct World {
    /// Sources that are asked.
    pub intel: Intel,
    /// Lists that are kept.
    pub feeds: Feeds,
    /// Names of the lists that are the operator's own.
    pub own_feeds: watch::Receiver<Vec<String>>,
    /// Databases of countries and networks.
    pub geo: Geo,
}

impl World {
    /// How everything outside stands.
    pub fn report(&self) -> IntelReport {
        IntelReport {
            status: self.intel.status(),
            feeds: self.feeds.status().as_ref().clone(),
            geoip: self.geo.status(),
        }
    }
}

impl Sources for World {
    fn weigher(&self) -> Weigher {
        let sources = self.intel.sources().map(|(name, group, weight)| {
            let group = group.to_owned();
            (name.to_owned(), Weigh { weight, group })
        });
        let feeds = FEEDS.iter().map(|feed| {
            let group = feed.group.to_owned();
            (format!("feed:{}", feed.name), Weigh { weight: FEED, group })
        });
        // Nobody knows where the operator's own lists come from, so each stands alone.
        let named = self.own_feeds.borrow();
        let own = named.iter().map(|name| {
            let group = format!("feed:{name}");
            (group.clone(), Weigh { weight: FEED, group })
        });
        sources.chain(feeds).chain(own).collect()
    }

    fn special(&self, ip: IpAddr) -> Option<&'static str> {
        self.intel.special(ip)
    }

    fn any(&self) -> bool {
        self.intel.sources().next().is_some()
    }

    fn known(&self, ip: IpAddr) -> Vec<Answer> {
        let lists = self
            .feeds
            .matches(ip)
            .into_iter()
            .map(|indicator| told("feed", indicator));
        let answers = self
            .intel
            .known(ip)
            .into_iter()
            .map(|indicator| told("cache", indicator));
        lists.chain(answers).collect()
    }

    fn ask(&self, ip: IpAddr, severity: Severity, believed: f64) -> BoxStream<'static, Answer> {
        let (sender, receiver) = mpsc::channel(ANSWERS);
        let intel = self.intel.clone();
        let asking = async move {
            let tell = |answer| {
                // There is a place for every source, and each answers once.
                let _ = sender.try_send(answer);
            };
            let _: Asked = intel.ask_all(ip, severity, believed, tell).await;
        };
        // Driven by whoever reads: nobody reading is nobody asking.
        stream::unfold(
            (receiver, Some(Box::pin(asking))),
            |(mut receiver, mut asking)| async move {
                loop {
                    let Some(running) = &mut asking else {
                        let answer: Answer = receiver.recv().await?;
                        return Some((answer, (receiver, None)));
                    };
                    tokio::select! {
                        biased;
                        answer = receiver.recv() => return Some((answer?, (receiver, asking))),
                        () = running => asking = None,
                    }
                }
            },
        )
        .boxed()
    }

    fn place(&self, ip: IpAddr) -> (Option<String>, Option<String>, Option<ipnet::IpNet>) {
        let place = self.geo.look_up(ip);
        (place.country, place.network, place.network_prefix)
    }
}

impl Lists for Feeds {
    fn lists(&self, ip: IpAddr) -> bool {
        self.contains(ip)
    }

    fn entries(&self, ip: IpAddr) -> Vec<Indicator> {
        self.matches(ip)
    }
}

fn told(result: &str, indicator: Indicator) -> Answer {
    Answer {
        source: indicator.source.clone(),
        indicator: Some(indicator),
        result: result.to_owned(),
        reason: String::new(),
        took_ms: 0,
    }
}
