//! Which entries of a believed list count, beside what is protected now.
//!
//! What the operator allows is set aside with its list, in memory and on disk, and counts again once it is no longer
//! allowed: nothing that is protected is left in force or in the kernel, and nothing is left out for longer than that.

use super::disk::{Head, KeptError, Meta, Shelf};
use super::parse::{Entry, Parsed};
use super::room::FeedRoom;
use super::sanity;
use super::set::{FeedSet, Loaded};
use super::table::Feed;
use crate::files::FileError;
use crate::types::{Protected, Timestamp};
use std::sync::Arc;

type Dated = (Entry, u32);

impl FeedRoom {
    /// Judges all lists in force by what is protected, where that has changed, and hands them to the kernel anew.
    pub(super) async fn guard(&mut self) {
        let protected = Arc::clone(&self.deps.protected.borrow());
        if protected == self.guarded {
            return;
        }
        self.guarded = Arc::clone(&protected);
        let set = Arc::clone(&self.set.borrow());
        let numbers: Vec<u8> = self.slots.iter().map(|slot| slot.number).collect();
        let judged = tokio::task::spawn_blocking(move || {
            numbers.into_iter().fold(None, |judged: Option<FeedSet>, number| {
                let anew = judged_anew(judged.as_ref().unwrap_or(&set), number, &protected);
                anew.or(judged)
            })
        });
        if let Ok(Some(set)) = judged.await {
            self.set.send_replace(Arc::new(set));
        }
        for at in 0..self.slots.len() {
            self.put_in_kernel(at).await;
        }
    }
}

/// The set with what is spared of a list exchanged; `None` where that is as it was.
fn judged_anew(set: &FeedSet, number: u8, protected: &[Protected]) -> Option<FeedSet> {
    let list = set.lists()[usize::from(number)].as_ref()?;
    let (spared, dated): (Vec<Dated>, Vec<Dated>) =
        merged(set.entries(number), &list.spared).partition(|(entry, _)| sanity::is_spared(entry.net, protected));
    if *spared == *list.spared {
        return None;
    }
    let list = Loaded {
        entries: dated.len() as u64,
        left_out: list.left_out - list.spared.len() as u64 + spared.len() as u64,
        spared: spared.into(),
        ..list.clone()
    };
    Some(set.with(number, Some(list), &dated))
}

/// Both in order, which they are in themselves.
fn merged(counts: impl Iterator<Item = Dated>, spared: &[Dated]) -> impl Iterator<Item = Dated> {
    let (mut counts, mut spared) = (counts.peekable(), spared.iter().copied().peekable());
    std::iter::from_fn(move || match (counts.peek(), spared.peek()) {
        (Some((one, _)), Some((other, _))) if other.net < one.net => spared.next(),
        (None, _) => spared.next(),
        _ => counts.next(),
    })
}

/// The set with a list that came now; an error says why it is not believed.
pub(super) fn believed(
    set: &FeedSet,
    list: Parsed,
    feed: &Arc<Feed>,
    number: u8,
    protected: &[Protected],
    now: Timestamp,
) -> Result<FeedSet, String> {
    let wrong = list.wrong;
    let old = set.lists()[usize::from(number)].as_ref();
    let count = old.map(|old| old.entries as usize + old.spared.len());
    let sane = sanity::judge(list, feed, count, protected).map_err(|error| error.to_string())?;
    let before: &[Dated] = old.map_or(&[], |old| &old.spared);
    // What was spared keeps its date, as what counted does.
    let dated = |entry: Entry| {
        let known = before.binary_search_by_key(&entry.net, |(entry, _)| entry.net);
        (entry, known.map_or(seconds(now), |at| before[at].1))
    };
    let entries: Vec<Dated> = sane.entries.into_iter().map(dated).collect();
    let list = Loaded {
        feed: Arc::clone(feed),
        fetched_at: now,
        checked_at: now,
        entries: entries.len() as u64,
        left_out: sane.left_out,
        spared: sane.spared.into_iter().map(dated).collect(),
        wrong,
    };
    Ok(set.with(number, Some(list), &entries))
}

/// Keeps a list in force for the next start, with what is spared of it.
pub(super) fn keep(shelf: &Shelf, set: &FeedSet, number: u8, place: String) -> Result<(), FileError> {
    let Some(list) = &set.lists()[usize::from(number)] else {
        return Ok(());
    };
    let spared = list.spared.len() as u64;
    let head = Head {
        feed: list.feed.name.to_string(),
        place,
        fetched_at: list.fetched_at,
        entries: list.entries + spared,
        left_out: list.left_out - spared,
        wrong_lines: list.wrong,
    };
    shelf.write_list(&head, merged(set.entries(number), &list.spared))
}

/// A feed's kept list, put into the set; `None` where there is none or its time is over.
pub(super) fn remembered(
    shelf: &Shelf,
    feed: &Arc<Feed>,
    number: u8,
    meta: &Meta,
    set: &FeedSet,
    protected: &[Protected],
    now: Timestamp,
) -> Result<Option<FeedSet>, KeptError> {
    let Some((head, entries)) = shelf.read_list(&feed.name, &meta.place)? else {
        return Ok(None);
    };
    let confirmed = meta.checked_at.filter(|_| meta.fetched_at == Some(head.fetched_at));
    let checked_at = confirmed.unwrap_or(head.fetched_at).min(now);
    if checked_at.after(feed.hold) <= now {
        return Ok(None);
    }
    // What is ours may have changed since.
    let list = Parsed {
        entries: entries.iter().map(|(entry, _)| *entry).collect(),
        wrong: 0,
        whole: true,
    };
    let sane = sanity::judge(list, feed, None, protected).map_err(|error| KeptError::Refused(error.to_string()))?;
    let (mut kept, mut aside) = (sane.entries.iter().peekable(), sane.spared.iter().peekable());
    let (mut dated, mut spared) = (Vec::with_capacity(sane.entries.len()), Vec::new());
    for (entry, since) in entries {
        if kept.next_if(|kept| kept.net == entry.net).is_some() {
            dated.push((entry, since));
        } else if aside.next_if(|aside| aside.net == entry.net).is_some() {
            spared.push((entry, since));
        }
    }
    let list = Loaded {
        feed: Arc::clone(feed),
        fetched_at: head.fetched_at,
        checked_at,
        entries: dated.len() as u64,
        left_out: head.left_out + sane.left_out,
        spared: spared.into(),
        wrong: head.wrong_lines,
    };
    Ok(Some(set.with(number, Some(list), &dated)))
}

fn seconds(at: Timestamp) -> u32 {
    u32::try_from(at.0.max(0) / 1_000_000_000).unwrap_or(u32::MAX)
}
