//! The one switch in front of everything: off, and what is in force only counts; on, and it acts again.

use super::{EnforceError, Enforcer, Responder};
use crate::types::{CommandError, Stop};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// How what was held back came into force again.
const RESUMED: &str = "again, now that acting was resumed, by";

impl<E: Enforcer> Responder<E> {
    /// Turns the enforcer's switch and reads it back.
    ///
    /// # Errors
    /// [`EnforceError`]; how the switch stands is then not known.
    pub fn switch(&mut self, on: bool) -> Result<(), EnforceError> {
        self.enforcer.set_acting(on)?;
        if self.enforcer.acting()? == on {
            return Ok(());
        }
        Err(EnforceError::Kernel {
            map: "settings",
            cause: "the switch read back stands as it stood before".to_owned(),
        })
    }

    /// Turns the switch where it does not stand as it should, or cannot be read; how many were turned.
    ///
    /// # Errors
    /// As of [`Responder::switch`].
    pub fn check_switch(&mut self, on: bool) -> Result<u64, EnforceError> {
        let found = self.enforcer.acting();
        if matches!(found, Ok(stands) if stands == on) {
            return Ok(0);
        }
        let turned = self.switch(on);
        tracing::warn!(
            on,
            ?found,
            ?turned,
            "the switch in front of all entries did not stand as it should"
        );
        turned.map(|()| 1)
    }

    /// From now on what is in force is told as held back. The next [`Responder::reword`] tells it.
    pub fn hold_back(&mut self, stop: Stop) {
        self.stopped = Some(stop);
        self.tell_anew(None);
    }

    /// From now on what is in force is told as such again.
    pub fn release(&mut self) {
        self.stopped = None;
        self.tell_anew(Some(RESUMED));
    }

    fn tell_anew(&mut self, how: Option<&'static str>) {
        for held in self.held.values_mut().filter(|held| !held.decision.simulated) {
            held.told = false;
            held.how = how.unwrap_or(held.how);
        }
    }

    /// Whether there is room for entries on all of these targets; what is on them already takes none.
    ///
    /// # Errors
    /// [`CommandError::Failed`], which names the map.
    pub fn room_for<'a>(&self, targets: impl Iterator<Item = &'a IpNet>) -> Result<(), CommandError> {
        let kind = |net: &IpNet| (net.addr().is_ipv4(), net.prefix_len() == net.max_prefix_len());
        let mut wanted: BTreeMap<_, (u64, IpNet)> = BTreeMap::new();
        for target in targets.filter(|t| !self.held.contains_key(t) && !self.watched.contains(t)) {
            wanted.entry(kind(target)).or_insert((0, *target)).0 += 1;
        }
        for (sort, (count, example)) in wanted {
            let Some((map, free)) = self.enforcer.room(example) else {
                continue;
            };
            // A probation gives way to a decision.
            let giving = self.watched.iter().filter(|(net, _)| kind(net) == sort).count() as u64;
            if count > free + giving {
                return Err(CommandError::Failed(format!(
                    "{count} new entries do not fit into the kernel's {map}, which has room for {}; raise \
                     `kernel.{}`, delete decisions, or import fewer",
                    free + giving,
                    if sort.1 { "block_capacity" } else { "block_net_capacity" }
                )));
            }
        }
        Ok(())
    }
}
