//! Which feeds the settings ask for, at the start and whenever they change. A feed that stays keeps all that is known of it;
//! one that goes is out of the lists and out of the kernel before the next one takes its number; one that stays keeps its.

use super::disk::{KeptError, Shelf, digest};
use super::fetch::{self, Fetcher, Patience};
use super::lapi::Lapi;
use super::protect;
use super::room::{FeedError, FeedRoom, LISTS};
use super::slot::{Place, Slot};
use super::table::{FEEDS, Feed};
use crate::config::{CustomFeed, IntelConfig, LAPI_FEED, LapiConfig};
use crate::files;
use crate::types::FeedInKernel;
use reqwest::Url;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Bytes of a file of certificates by which it is told from another.
const AUTHORITY: u64 = 1 << 20;

/// What the settings come to.
pub(super) struct Plan {
    pub(super) slots: Vec<Slot>,
    pub(super) fetcher: Fetcher,
    pub(super) shelf: Shelf,
}

/// A slot for each feed that is enabled, built-in ones at `mirror/NAME` where one is given. Of the operator's own those
/// that are among `held` keep their numbers.
///
/// # Errors
/// [`FeedError`].
pub(super) fn plan(
    config: &IntelConfig,
    mirror: Option<&str>,
    patience: Patience,
    held: &[Slot],
) -> Result<Plan, FeedError> {
    let mut slots = Vec::new();
    let mut trusted = BTreeSet::new();
    let enabled: &[String] = if config.enabled { &config.feeds.enabled } else { &[] };
    if let Some(unknown) = enabled.iter().find(|name| Feed::built_in(name).is_none()) {
        return Err(FeedError::Unknown(unknown.clone()));
    }
    let url = |text: &str| text.parse::<Url>().ok().filter(Url::has_host);
    for (number, feed) in (0u8..).zip(FEEDS.iter()) {
        if !enabled.iter().any(|name| *name == feed.name) {
            continue;
        }
        let text = mirror.map_or_else(
            || feed.url.to_string(),
            |mirror| format!("{}/{}", mirror.trim_end_matches('/'), feed.name),
        );
        let place = url(&text).ok_or_else(|| FeedError::Url(feed.name.to_string()))?;
        if mirror.is_some() {
            trusted.extend(place.host_str().map(str::to_owned));
        }
        slots.push(Slot::new(feed.clone(), number, Place::Web(place), digest(&text)));
    }
    let own: &[CustomFeed] = if config.enabled { &config.feeds.custom } else { &[] };
    for (number, CustomFeed { name, place }) in numbers(own, held).into_iter().zip(own) {
        let text = place.expose();
        let (feed, place) = if text.starts_with('/') {
            (Feed::custom(name, None), Place::File(text.into()))
        } else {
            let place = url(text).ok_or_else(|| FeedError::Url(name.clone()))?;
            trusted.extend(place.host_str().map(str::to_owned));
            (Feed::custom(name, Some(text)), Place::Web(place))
        };
        slots.push(Slot::new(feed, number, place, digest(text)));
    }
    let lapi = &config.feeds.crowdsec;
    if config.enabled && !lapi.url.is_empty() {
        slots.push(lapi_slot(lapi, config.feeds.max_bytes, patience)?);
    }
    for slot in &mut slots {
        let blocks = config.feeds.block.iter().any(|name| *name == slot.feed.name);
        slot.kernel = blocks.then(FeedInKernel::default);
    }
    let fetcher = Fetcher::new(config.feeds.max_bytes, patience, trusted)
        .map_err(|error| FeedError::Client(error.without_url().to_string()))?;
    Ok(Plan {
        slots,
        fetcher,
        shelf: Shelf(config.feeds.directory.clone()),
    })
}

/// A number for each of the operator's own feeds: that by which it stands, or else a free one.
fn numbers(own: &[CustomFeed], held: &[Slot]) -> Vec<u8> {
    let stands = |feed: &CustomFeed| {
        let place = digest(feed.place.expose());
        let same = |slot: &&Slot| slot.feed.name == feed.name.as_str() && slot.meta.place == place;
        held.iter().find(same).map(|slot| slot.number)
    };
    let kept: Vec<Option<u8>> = own.iter().map(stands).collect();
    // The last one is the local API's.
    let mut free: Vec<u8> = (FEEDS.len() as u8..LISTS - 1)
        .filter(|number| !kept.contains(&Some(*number)))
        .collect();
    // Those that nobody has first: whoever goes may still be on its way out.
    free.sort_by_key(|number| held.iter().any(|slot| slot.number == *number));
    let mut free = free.into_iter();
    kept.into_iter()
        .map_while(|kept| kept.or_else(|| free.next()))
        .collect()
}

/// The feed of a local API of CrowdSec, by the last number. It is another feed only at another address: with another key,
/// pace or authority what it said still counts.
fn lapi_slot(config: &LapiConfig, max_bytes: u64, patience: Patience) -> Result<Slot, FeedError> {
    let url = config.url.parse::<Url>().ok().filter(Url::has_host);
    let url = url.ok_or_else(|| FeedError::Url(LAPI_FEED.to_owned()))?;
    let digest = digest(&config.url);
    let feed = Feed::lapi(LAPI_FEED, &config.url, config.interval);
    let tls = crate::tls::client(config.ca_file.as_deref());
    let mut builder = fetch::builder(patience);
    if url.scheme() == "https" {
        let tls = tls.map_err(|why| FeedError::Client(format!("{why} (`intel.feeds.crowdsec.ca_file`)")))?;
        builder = builder.tls_backend_preconfigured(tls);
    } else {
        // Nobody to trust, so it works on a machine without certificates.
        builder = builder.tls_certs_only([]);
    }
    let client = builder.build();
    let client = client.map_err(|error| FeedError::Client(error.without_url().to_string()))?;
    let authority = config.ca_file.as_deref().map(|path| files::read(path, AUTHORITY));
    let authority = authority.and_then(Result::ok).unwrap_or_default();
    let lapi = Lapi::new(client, url, config.key.as_ref(), max_bytes).trusting(authority);
    Ok(Slot::new(feed, LISTS - 1, Place::Lapi(lapi), digest))
}

impl FeedRoom {
    /// Goes by other settings from now on.
    ///
    /// # Errors
    /// [`FeedError`]; nothing has changed then.
    pub(super) async fn renew(&mut self, config: &IntelConfig) -> Result<(), FeedError> {
        let Plan { slots, fetcher, shelf } = plan(config, self.mirror.as_deref(), self.patience, &self.slots)?;
        let same =
            |a: &Slot, b: &Slot| a.number == b.number && a.feed.name == b.feed.name && a.meta.place == b.meta.place;
        for at in 0..self.slots.len() {
            let old = &self.slots[at];
            let blocks_no_more = |new: &Slot| same(old, new) && new.kernel.is_none();
            let goes = !slots.iter().any(|new| same(old, new));
            let (number, blocked) = (old.number, old.kernel.is_some());
            if blocked && (goes || slots.iter().any(blocks_no_more)) {
                self.take_from_kernel(at).await;
            }
            if goes {
                let without = self.set.borrow().with(number, None, &[]);
                self.set.send_replace(Arc::new(without));
            }
        }
        let mut before = std::mem::replace(&mut self.slots, slots);
        (self.fetcher, self.shelf) = (fetcher, shelf);
        let mut fresh = Vec::new();
        for (at, slot) in self.slots.iter_mut().enumerate() {
            match before.iter().position(|old| same(old, slot)) {
                Some(old) => {
                    let old = before.swap_remove(old);
                    let kernel = slot.kernel.take().map(|new| old.kernel.clone().unwrap_or(new));
                    let (feed, place) = (Arc::clone(&slot.feed), slot.place.clone());
                    *slot = Slot { kernel, ..old };
                    if let (Place::Lapi(asked), Place::Lapi(new)) = (&slot.place, &place)
                        && (slot.feed.interval != feed.interval || !asked.asks_as(new))
                    {
                        (slot.feed, slot.place) = (feed, place);
                        slot.meta.next_at = None;
                    }
                }
                None => fresh.push(at),
            }
        }
        self.load(&fresh, std::time::Duration::ZERO).await;
        for at in 0..self.slots.len() {
            let there = self.slots[at].kernel.as_ref().is_some_and(|kernel| kernel.loaded);
            if !there {
                self.put_in_kernel(at).await;
            }
        }
        self.publish();
        Ok(())
    }

    /// Takes up what an earlier run kept of these; what is due, and what could not be read, is asked for at some time
    /// within `spread`.
    pub(super) async fn load(&mut self, which: &[usize], spread: std::time::Duration) {
        let now = (self.now)();
        let shelf = self.shelf.clone();
        let wanted: Vec<_> = which
            .iter()
            .map(|&at| {
                let slot = &self.slots[at];
                (at, Arc::clone(&slot.feed), slot.number, slot.meta.place.clone())
            })
            .collect();
        let protected = Arc::clone(&self.guarded);
        let set = super::set::FeedSet::clone(&self.set.borrow());
        let read = tokio::task::spawn_blocking(move || {
            let mut set = set;
            let mut told = Vec::new();
            for (at, feed, number, place) in wanted {
                let meta = shelf.read_meta(&feed.name, &place);
                let outcome = protect::remembered(&shelf, &feed, number, &meta, &set, &protected, now);
                let complaint = match outcome {
                    Ok(Some(with)) => {
                        set = with;
                        None
                    }
                    Ok(None) => None,
                    Err(complaint) => Some(complaint),
                };
                told.push((at, meta, complaint));
            }
            (set, told)
        })
        .await;
        let Ok((set, told)) = read else {
            for &at in which {
                self.slots[at].unread = true;
            }
            return;
        };
        for (at, meta, complaint) in told {
            if let Some(complaint) = &complaint {
                tracing::warn!(feed = %self.slots[at].feed.name, %complaint, "a list that was kept is not used");
            }
            let spread = spread.mul_f64(self.luck());
            let slot = &mut self.slots[at];
            let start = match slot.place {
                Place::Web(_) => now.after(spread),
                Place::File(_) | Place::Lapi(_) => now,
            };
            slot.meta = meta;
            slot.unread = matches!(complaint, Some(KeptError::File(_)));
            slot.complaint = complaint.map(|complaint| complaint.to_string());
            if slot.due(start) || slot.unread {
                slot.meta.next_at = Some(start);
            }
        }
        self.set.send_replace(Arc::new(set));
    }
}

#[cfg(test)]
mod tests;
