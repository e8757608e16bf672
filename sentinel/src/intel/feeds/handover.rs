//! Hands the room's lists to the kernel, and reads what became of them there.

use super::block::{self, Order};
use super::room::{FeedRoom, LISTS};
use crate::store::Record;
use crate::time;
use crate::types::FeedInKernel;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long the audit is waited for; what is queued is written even so.
const PATIENCE: Duration = Duration::from_secs(1);

impl FeedRoom {
    /// Takes out of the kernel what an earlier run left there and nobody wants now. A list that could not be read here
    /// stays there until it comes again or its time there is over; not in simulation, which must drop nothing.
    pub(super) async fn sweep_kernel(&mut self) {
        let Some(kernel) = self.deps.kernel.clone() else {
            return;
        };
        let set = Arc::clone(&self.set.borrow());
        let wanted: BTreeMap<u8, [u8; 16]> = self
            .slots
            .iter()
            .filter(|slot| {
                let unread = slot.unread && !self.deps.simulate;
                slot.kernel.is_some() && (unread || set.lists()[usize::from(slot.number)].is_some())
            })
            .map(|slot| (slot.number, block::list_id(&slot.feed.name)))
            .collect();
        let swept = tokio::task::spawn_blocking(move || {
            block::sweep(&*kernel, |number, id| {
                number >= LISTS || wanted.get(&number) == Some(&id)
            })
        });
        match swept.await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(lists)) => tracing::info!(lists, "lists of an earlier run were taken out of the kernel"),
            Ok(Err(error)) => tracing::error!(%error, "lists of an earlier run cannot be taken out of the kernel"),
        }
    }

    /// Puts a feed's list into the kernel, or renews it there, where that is asked for.
    pub(super) async fn put_in_kernel(&mut self, at: usize) {
        let Some(before) = self.slots[at].kernel.clone() else {
            return;
        };
        let Some(kernel) = self.deps.kernel.clone() else {
            self.slots[at].kernel = Some(FeedInKernel {
                error: Some("there are no kernel programs here; nothing is dropped by it".into()),
                note: self.slots[at].feed.note(),
                ..before
            });
            return;
        };
        let set = Arc::clone(&self.set.borrow());
        let slot = &self.slots[at];
        let Some(list) = &set.lists()[usize::from(slot.number)] else {
            return;
        };
        let until = slot.holds_until(list);
        let left = Duration::from_nanos((until.0 - (self.now)().0).max(0) as u64);
        let until = (until, time::boot_now().after(left));
        let (feed, number, shadow) = (Arc::clone(&slot.feed), slot.number, self.deps.simulate);
        let protected = Arc::clone(&self.guarded);
        let (old, sets) = (before.clone(), Arc::clone(&set));
        let put = tokio::task::spawn_blocking(move || {
            let order = Order {
                feed: &feed,
                number,
                protected: &protected,
                shadow,
                until,
            };
            block::put(&*kernel, &sets, &order, &old)
        });
        let stands = put.await.unwrap_or_else(|_| FeedInKernel {
            error: Some("handing it to the kernel failed; please report that".into()),
            ..before.clone()
        });
        // An end that only moves on is no news.
        let news = |it: &FeedInKernel| (it.entries, it.simulated, it.loaded, it.error.clone());
        if news(&stands) != news(&before) {
            self.tell(at, &stands).await;
        }
        self.slots[at].kernel = Some(stands);
    }

    async fn tell(&self, at: usize, stands: &FeedInKernel) {
        if let Some(error) = &stands.error {
            tracing::error!(feed = %self.slots[at].feed.name, %error, "a list is not in the kernel as it should be");
            self.write_down(at, "feed.failed", error.clone()).await;
        } else {
            let id = uuid::Uuid::from_bytes(block::list_id(&self.slots[at].feed.name));
            let does = if stands.simulated { "counts" } else { "drops" };
            let until = stands.until.map_or_else(String::new, |until| format!(" until {until}"));
            let detail = format!(
                "the kernel {does} by {} entries{until}, read back; its id there is {id}",
                stands.entries
            );
            self.write_down(at, "feed.in_force", detail).await;
        }
    }

    /// A line in the audit: whoever is dropped by a list must find out by whose word. A slow disk holds nothing up.
    async fn write_down(&self, at: usize, verb: &str, detail: String) {
        let Some(store) = &self.deps.store else {
            return;
        };
        let record = Record::Audit {
            at: (self.now)(),
            actor: "sentinel".to_owned(),
            verb: verb.to_owned(),
            subject: self.slots[at].feed.name.to_string(),
            detail,
        };
        let kept = tokio::time::timeout(PATIENCE, store.commit(vec![record])).await;
        if let Ok(Err(error)) = kept {
            tracing::error!(%error, "what a feed does in the kernel is not in the audit");
        }
    }

    pub(super) async fn take_from_kernel(&mut self, at: usize) {
        let (Some(kernel), Some(before)) = (self.deps.kernel.clone(), self.slots[at].kernel.clone()) else {
            return;
        };
        let number = self.slots[at].number;
        let gone = tokio::task::spawn_blocking(move || kernel.take_off(number)).await;
        let error = match gone {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("taking it out of the kernel failed; please report that".into()),
        };
        let detail = error.clone().unwrap_or_else(|| "taken out of the kernel".to_owned());
        self.write_down(at, "feed.withdrawn", detail).await;
        self.slots[at].kernel = Some(if error.is_some() {
            FeedInKernel { error, ..before }
        } else {
            FeedInKernel {
                note: before.note,
                ..FeedInKernel::default()
            }
        });
    }

    /// Reads what the kernel counted.
    pub(super) async fn read_kernel(&mut self) {
        let Some(kernel) = self.deps.kernel.clone() else {
            return;
        };
        if self.slots.iter().all(|slot| slot.kernel.is_none()) {
            return;
        }
        let Ok(Ok(standing)) = tokio::task::spawn_blocking(move || kernel.standing()).await else {
            return;
        };
        for slot in &mut self.slots {
            let stands = standing.iter().find(|one| one.list == slot.number);
            if let (Some(kernel), Some(stands)) = (&mut slot.kernel, stands) {
                kernel.dropped = stands.dropped;
                kernel.would_drop = stands.would_drop;
            }
        }
    }
}
