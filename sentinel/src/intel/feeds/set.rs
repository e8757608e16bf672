//! Every entry of every feed in one table: who lists an address, through which prefix, since when.
//!
//! Prefixes lie in the order of the address space, covering before covered, each with the index of the nearest one that
//! covers it. The last that begins at or before an address, or one of its covers, is the longest match, since prefixes
//! never overlap by halves. 21 bytes an IPv4 prefix on one list, 33 an IPv6 one.

use super::parse::Entry;
use super::table::Feed;
use crate::types::{Indicator, Timestamp};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Feeds there can be: one bit each.
pub const FEEDS_MAX: usize = 64;

const NONE: u32 = u32::MAX;

/// An address as a number.
trait Bits: Copy + Ord {
    /// The address with all but its first `len` bits cleared.
    fn cut(self, len: u8) -> Self;
    /// Its first 16 bits.
    fn top(self) -> usize;
    fn net(self, len: u8) -> IpNet;
}

impl Bits for u32 {
    fn cut(self, len: u8) -> Self {
        if len == 0 {
            0
        } else {
            self & (Self::MAX << (32 - u32::from(len)))
        }
    }
    fn top(self) -> usize {
        (self >> 16) as usize
    }
    fn net(self, len: u8) -> IpNet {
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(self), len.min(32)))
    }
}

impl Bits for u128 {
    fn cut(self, len: u8) -> Self {
        if len == 0 {
            0
        } else {
            self & (Self::MAX << (128 - u32::from(len)))
        }
    }
    fn top(self) -> usize {
        (self >> 112) as usize
    }
    fn net(self, len: u8) -> IpNet {
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(self), len.min(128)))
    }
}

/// That one feed lists a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// Since when: s since 1970.
    pub(super) since: u32,
    pub(super) feed: u8,
    pub(super) level: u8,
}

/// The prefixes of one address family.
struct Table<K> {
    starts: Vec<K>,
    lens: Vec<u8>,
    /// The nearest prefix that covers it.
    covers: Vec<u32>,
    /// Where its listings begin; one more for the end of the last.
    firsts: Vec<u32>,
    listings: Vec<Listing>,
    /// Where the prefixes begin whose first 16 bits are this much or more.
    tops: Vec<u32>,
}

impl<K: Bits> Table<K> {
    fn empty() -> Self {
        Self {
            starts: Vec::new(),
            lens: Vec::new(),
            covers: Vec::new(),
            firsts: vec![0],
            listings: Vec::new(),
            tops: Vec::new(),
        }
    }

    fn len(&self) -> usize {
        self.starts.len()
    }

    fn listings(&self, at: usize) -> &[Listing] {
        &self.listings[self.firsts[at] as usize..self.firsts[at + 1] as usize]
    }

    fn push(&mut self, start: K, len: u8, listings: impl Iterator<Item = Listing>) {
        let before = self.listings.len();
        self.listings.extend(listings);
        if self.listings.len() == before {
            return;
        }
        self.starts.push(start);
        self.lens.push(len);
        self.firsts.push(self.listings.len() as u32);
    }

    /// Finds every prefix's cover, and lays the index.
    fn close(&mut self) {
        let mut open: Vec<u32> = Vec::new();
        for at in 0..self.len() {
            while let Some(&top) = open.last() {
                let top = top as usize;
                if self.starts[at].cut(self.lens[top]) == self.starts[top] {
                    break;
                }
                open.pop();
            }
            self.covers.push(open.last().copied().unwrap_or(NONE));
            open.push(at as u32);
        }
        if self.len() > 0 {
            self.tops = Vec::with_capacity((1 << 16) + 1);
            let mut at = 0;
            for top in 0..=1 << 16 {
                while at < self.len() && self.starts[at].top() < top {
                    at += 1;
                }
                self.tops.push(at as u32);
            }
        }
        self.starts.shrink_to_fit();
        self.lens.shrink_to_fit();
        self.covers.shrink_to_fit();
        self.firsts.shrink_to_fit();
        self.listings.shrink_to_fit();
    }

    /// The prefixes that cover an address, the longest first.
    fn covering(&self, ip: K) -> impl Iterator<Item = usize> + '_ {
        let mut at = if self.tops.is_empty() {
            NONE
        } else {
            let (from, to) = (self.tops[ip.top()] as usize, self.tops[ip.top() + 1] as usize);
            let before = from + self.starts[from..to].partition_point(|&start| start <= ip);
            before.checked_sub(1).map_or(NONE, |at| at as u32)
        };
        std::iter::from_fn(move || {
            while at != NONE {
                let here = at as usize;
                at = self.covers[here];
                if ip.cut(self.lens[here]) == self.starts[here] {
                    return Some(here);
                }
            }
            None
        })
    }

    /// This table with one feed's entries exchanged for `new`, which are in order; what is listed on keeps its date.
    fn exchange(&self, feed: u8, new: impl Iterator<Item = (K, u8, Listing)>) -> Self {
        let mut table = Self::empty();
        table.starts.reserve(self.len());
        let mut new = new.peekable();
        for at in 0..self.len() {
            let key = (self.starts[at], self.lens[at]);
            while let Some((start, len, listing)) = new.next_if(|one| (one.0, one.1) < key) {
                table.push(start, len, std::iter::once(listing));
            }
            let same = new.next_if(|one| (one.0, one.1) == key).map(|(_, _, listing)| listing);
            let old = self.listings(at);
            let kept = old.iter().find(|old| old.feed == feed);
            let same = same.map(|new| Listing {
                since: kept.map_or(new.since, |kept| kept.since.min(new.since)),
                ..new
            });
            let below = old.iter().filter(|old| old.feed < feed).copied();
            let above = old.iter().filter(|old| old.feed > feed).copied();
            table.push(key.0, key.1, below.chain(same).chain(above));
        }
        for (start, len, listing) in new {
            table.push(start, len, std::iter::once(listing));
        }
        table.close();
        table
    }

    fn bytes(&self) -> usize {
        self.starts.capacity() * size_of::<K>()
            + self.lens.capacity()
            + (self.covers.capacity() + self.firsts.capacity() + self.tops.capacity()) * 4
            + self.listings.capacity() * size_of::<Listing>()
    }
}

/// A list in force.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) feed: Arc<Feed>,
    /// When it was fetched.
    pub(super) fetched_at: Timestamp,
    /// When its provider last confirmed it.
    pub(super) checked_at: Timestamp,
    /// Its entries.
    pub(super) entries: u64,
    /// Those of its list that were left out.
    pub(super) left_out: u64,
    /// Those of them that come back once the operator no longer allows them, in order.
    pub(super) spared: Arc<[(Entry, u32)]>,
    /// Lines that could not be read.
    pub(super) wrong: u64,
}

/// One feed's word on an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) net: IpNet,
    pub(super) listing: Listing,
}

/// All lists in force. Made anew with each change, and never changed.
#[derive(Clone)]
pub struct FeedSet {
    four: Arc<Table<u32>>,
    six: Arc<Table<u128>>,
    lists: Vec<Option<Loaded>>,
}

impl FeedSet {
    /// Nothing, with room for so many feeds.
    pub(super) fn empty(feeds: usize) -> Self {
        Self {
            four: Arc::new(Table::empty()),
            six: Arc::new(Table::empty()),
            lists: vec![None; feeds.min(FEEDS_MAX)],
        }
    }

    /// The lists, by the feeds' numbers.
    pub(super) fn lists(&self) -> &[Option<Loaded>] {
        &self.lists
    }

    /// This set with one feed's list exchanged; `None` takes it out. `entries` are in order, each prefix once.
    pub(super) fn with(&self, feed: u8, list: Option<Loaded>, entries: &[(Entry, u32)]) -> Self {
        let six_from = entries.partition_point(|(entry, _)| matches!(entry.net, IpNet::V4(_)));
        let (four, six) = entries.split_at(six_from);
        let listing = |entry: &Entry, since| Listing {
            since,
            feed,
            level: entry.level,
        };
        let four = four.iter().filter_map(|(entry, since)| match entry.net {
            IpNet::V4(net) => Some((net.network().to_bits(), net.prefix_len(), listing(entry, *since))),
            IpNet::V6(_) => None,
        });
        let six = six.iter().filter_map(|(entry, since)| match entry.net {
            IpNet::V6(net) => Some((net.network().to_bits(), net.prefix_len(), listing(entry, *since))),
            IpNet::V4(_) => None,
        });
        let mut lists = self.lists.clone();
        if let Some(slot) = lists.get_mut(usize::from(feed)) {
            *slot = list;
        }
        Self {
            four: Arc::new(self.four.exchange(feed, four)),
            six: Arc::new(self.six.exchange(feed, six)),
            lists,
        }
    }

    /// This set with a list confirmed by its provider.
    pub(super) fn confirmed(&self, feed: u8, at: Timestamp) -> Self {
        let mut set = self.clone();
        if let Some(Some(list)) = set.lists.get_mut(usize::from(feed)) {
            list.checked_at = at;
        }
        set
    }

    /// Every entry of a feed with its date, in order.
    pub(super) fn entries(&self, feed: u8) -> impl Iterator<Item = (Entry, u32)> + '_ {
        each(&self.four, feed).chain(each(&self.six, feed))
    }

    /// What lists an address: for each feed its longest prefix, the longest first.
    pub(super) fn hits(&self, ip: IpAddr) -> impl Iterator<Item = Hit> + '_ {
        let (four, six) = match ip.to_canonical() {
            IpAddr::V4(ip) => (Some(ip.to_bits()), None),
            IpAddr::V6(ip) => (None, Some(ip.to_bits())),
        };
        let four = four.into_iter().flat_map(|ip| found(&self.four, ip));
        let six = six.into_iter().flat_map(|ip| found(&self.six, ip));
        let mut seen = 0u64;
        four.chain(six).filter(move |hit| {
            let bit = 1 << (hit.listing.feed & 63);
            let first = seen & bit == 0;
            seen |= bit;
            first
        })
    }

    /// Whether any feed lists an address. No allocation.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.hits(ip).next().is_some()
    }

    /// What each feed says of an address; empty where none lists it.
    pub fn matches(&self, ip: IpAddr) -> Vec<Indicator> {
        self.hits(ip)
            .filter_map(|hit| {
                let list = self.lists.get(usize::from(hit.listing.feed))?.as_ref()?;
                Some(indicator(ip.to_canonical(), hit, list))
            })
            .collect()
    }

    /// Prefixes held, each once, whoever lists them.
    pub fn len(&self) -> usize {
        self.four.len() + self.six.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes they take.
    pub fn bytes(&self) -> usize {
        self.four.bytes() + self.six.bytes()
    }
}

fn each<K: Bits>(table: &Table<K>, feed: u8) -> impl Iterator<Item = (Entry, u32)> + '_ {
    (0..table.len()).filter_map(move |at| {
        let listing = table.listings(at).iter().find(|listing| listing.feed == feed)?;
        let net = table.starts[at].net(table.lens[at]);
        let level = listing.level;
        Some((Entry { net, level }, listing.since))
    })
}

fn found<K: Bits>(table: &Table<K>, ip: K) -> impl Iterator<Item = Hit> + '_ {
    table.covering(ip).flat_map(move |at| {
        let net = table.starts[at].net(table.lens[at]);
        table.listings(at).iter().map(move |&listing| Hit { net, listing })
    })
}

fn indicator(ip: IpAddr, hit: Hit, list: &Loaded) -> Indicator {
    let feed = &list.feed;
    let mut indicator = Indicator::new(&format!("feed:{}", feed.name), ip, list.checked_at);
    let (verdict, score, confidence) = feed.says(hit.listing.level);
    indicator.judge(verdict, score, confidence);
    for category in feed.categories {
        indicator.category(category);
    }
    indicator.first_seen = Some(Timestamp(i64::from(hit.listing.since) * 1_000_000_000));
    indicator.last_seen = Some(list.checked_at);
    indicator.fact("prefix", &hit.net);
    if hit.listing.level > 0 {
        indicator.fact("lists", &hit.listing.level);
    }
    indicator
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn loaded(feed: &str) -> Loaded {
        Loaded {
            feed: Arc::new(Feed::custom(feed, None)),
            fetched_at: Timestamp(5_000_000_000),
            checked_at: Timestamp(6_000_000_000),
            entries: 0,
            left_out: 0,
            spared: Arc::default(),
            wrong: 0,
        }
    }

    fn dated(nets: impl IntoIterator<Item = IpNet>, since: u32) -> Vec<(Entry, u32)> {
        let mut all: Vec<_> = nets.into_iter().map(|net| (Entry { net, level: 0 }, since)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn net() -> impl Strategy<Value = IpNet> {
        // Few bits, so that prefixes cover each other.
        let four = (0u32..64, 8u8..=32).prop_map(|(bits, len)| {
            let bits = (bits & 7) << 29 | (bits >> 3) << 6 | bits & 1;
            IpNet::new(Ipv4Addr::from_bits(bits).into(), len).unwrap().trunc()
        });
        let six = (0u128..64, 16u8..=128).prop_map(|(bits, len)| {
            let bits = (bits & 7) << 109 | (bits >> 3) << 62 | bits & 1 | 0x2a << 120;
            IpNet::new(Ipv6Addr::from_bits(bits).into(), len).unwrap().trunc()
        });
        prop_oneof![four, six]
    }

    /// What should be found: for each feed the longest of its prefixes that covers the address.
    fn naive(lists: &BTreeMap<u8, Vec<(Entry, u32)>>, ip: IpAddr) -> Vec<(u8, IpNet, u32)> {
        let mut all: Vec<_> = lists
            .iter()
            .filter_map(|(&feed, entries)| {
                let covering = entries.iter().filter(|(entry, _)| entry.net.contains(&ip));
                let (entry, since) = covering.max_by_key(|(entry, _)| entry.net.prefix_len())?;
                Some((feed, entry.net, *since))
            })
            .collect();
        all.sort_unstable();
        all
    }

    fn found(set: &FeedSet, ip: IpAddr) -> Vec<(u8, IpNet, u32)> {
        let mut all: Vec<_> = set
            .hits(ip)
            .map(|hit| (hit.listing.feed, hit.net, hit.listing.since))
            .collect();
        all.sort_unstable();
        all
    }

    proptest! {
        #[test]
        fn it_finds_what_a_naive_search_finds_and_a_feed_that_goes_takes_exactly_its_own(
            changes in proptest::collection::vec((0u8..4, proptest::collection::vec(net(), 0..40)), 1..8),
            gone in 0u8..4,
        ) {
            let mut lists: BTreeMap<u8, Vec<(Entry, u32)>> = BTreeMap::new();
            let mut set = FeedSet::empty(4);
            for (since, (feed, nets)) in (1u32..).zip(changes) {
                let new = dated(nets, since);
                set = set.with(feed, Some(loaded("x")), &new);
                let old = lists.remove(&feed).unwrap_or_default();
                let kept = new.into_iter().map(|(entry, since)| {
                    let before = old.iter().find(|(old, _)| old.net == entry.net);
                    (entry, before.map_or(since, |(_, before)| *before))
                });
                lists.insert(feed, kept.collect());
            }
            let probe = |set: &FeedSet, lists: &BTreeMap<u8, Vec<(Entry, u32)>>| {
                for entries in lists.values() {
                    for (entry, _) in entries {
                        for ip in [entry.net.network(), entry.net.broadcast()] {
                            assert_eq!(found(set, ip), naive(lists, ip), "{ip}");
                        }
                    }
                }
                for n in 0..=255u8 {
                    let ip = IpAddr::from([n, 0, n & 3, n & 0x41]);
                    assert_eq!(found(set, ip), naive(lists, ip), "{ip}");
                }
            };
            probe(&set, &lists);
            let set = set.with(gone, None, &[]);
            lists.remove(&gone);
            probe(&set, &lists);
            prop_assert_eq!(set.entries(gone).count(), 0);
            for (&feed, entries) in &lists {
                prop_assert_eq!(&set.entries(feed).collect::<Vec<_>>(), entries);
            }
            let mut alone = FeedSet::empty(4);
            for (&feed, entries) in &lists {
                alone = alone.with(feed, Some(loaded("x")), entries);
            }
            prop_assert_eq!(set.len(), alone.len(), "nothing of it is left");
        }
    }

    #[test]
    fn nothing_lists_nobody() {
        let set = FeedSet::empty(3);
        for ip in ["0.0.0.0", "255.255.255.255", "::", "2001:db8::1"] {
            assert!(!set.contains(ip.parse().unwrap()));
        }
        let all = set.with(0, Some(loaded("x")), &dated(["0.0.0.0/0".parse().unwrap()], 1));
        assert!(all.contains("255.255.255.255".parse().unwrap()) && all.contains("0.0.0.0".parse().unwrap()));
        assert!(!all.contains("::1".parse().unwrap()));
    }

    /// Not a gate but for orders of magnitude: `cargo test -p sentinel --lib -- a_million --nocapture` prints the figures.
    #[test]
    fn a_million_addresses_are_small_and_found_at_once() {
        use sentinel_common::hash::SplitMix64;
        let mut luck = SplitMix64(7);
        let mut set = FeedSet::empty(9);
        // As the lists are: one of a million addresses, and eight smaller ones, some of them prefixes.
        for (feed, count, len) in [
            (8, 1_000_000, 32u8),
            (4, 30_000, 32),
            (5, 15_000, 32),
            (0, 1_700, 20),
            (2, 4_000, 24),
        ] {
            let nets = (0..count).map(|_| {
                IpNet::new(Ipv4Addr::from_bits(luck.draw() as u32).into(), len)
                    .unwrap()
                    .trunc()
            });
            set = set.with(feed, Some(loaded("x")), &dated(nets, 1));
        }
        let six = (0..2_000).map(|_| {
            let bits = 0x2a << 120 | u128::from(luck.draw()) << 40;
            IpNet::new(Ipv6Addr::from_bits(bits).into(), 48).unwrap().trunc()
        });
        set = set.with(1, Some(loaded("x")), &dated(six, 1));
        let per = set.bytes() as f64 / set.len() as f64;
        let probes: Vec<IpAddr> = (0..200_000)
            .map(|_| Ipv4Addr::from_bits(luck.draw() as u32).into())
            .collect();
        let listed: Vec<IpAddr> = set.entries(8).step_by(5).map(|(entry, _)| entry.net.addr()).collect();
        let timed = |name: &str, ips: &[IpAddr], ask: &dyn Fn(IpAddr) -> bool| {
            let begin = std::time::Instant::now();
            let hits = ips.iter().filter(|ip| ask(**ip)).count();
            let each = begin.elapsed().as_nanos() as f64 / ips.len() as f64;
            println!("{name}: {each:.0} ns each, {hits} of {} listed", ips.len());
            each
        };
        let begin = std::time::Instant::now();
        let renewed = set.with(
            5,
            Some(loaded("x")),
            &dated(set.entries(4).map(|(entry, _)| entry.net), 2),
        );
        println!(
            "{} prefixes, {:.1} MiB, {per:.1} bytes each; a list exchanged in {} ms",
            renewed.len(),
            set.bytes() as f64 / f64::from(1 << 20),
            begin.elapsed().as_millis()
        );
        let (_, reader) = tokio::sync::watch::channel(Arc::new(set.clone()));
        let slowest = [
            timed("contains, random", &probes, &|ip| reader.borrow().contains(ip)),
            timed("contains, listed", &listed, &|ip| reader.borrow().contains(ip)),
            timed("matches, random", &probes, &|ip| {
                !reader.borrow().matches(ip).is_empty()
            }),
            timed("matches, listed (makes indicators)", &listed, &|ip| {
                !reader.borrow().matches(ip).is_empty()
            }),
        ];
        assert!(per < 40.0, "{per}");
        assert!(slowest.iter().all(|each| *each < 100_000.0));
        assert_eq!(listed.iter().filter(|ip| set.contains(**ip)).count(), listed.len());
    }
}
