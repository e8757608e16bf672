//! Follows interfaces that come and go, and programs of ours that somebody takes off them.

use super::attach::{Attachment, Holding};
use super::error::KernelError;
use super::pin::Kind;
use super::tc::Direction;
use super::undo::Undo;
use super::{Kernel, interface, occupant, probe};
use crate::types::Trouble;
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// How an interface that is attached to was found or made, and what is wrong with it.
type Mended = (State, Option<Trouble>);

impl Kernel {
    /// Brings what is attached in line with the interfaces there are: attaches to those among `wanted` that came or
    /// came back, lets go of those that went or are no longer wanted. Returns how each wanted one is.
    ///
    /// A program that was taken off by force is attached again: [`State::Came`]. An interface that was renamed stays
    /// protected under its index, until another takes its name.
    ///
    /// Where the interfaces cannot be listed, all stays as it is, and is said to be so.
    pub fn tend(&mut self, wanted: &[String]) -> Vec<Tended> {
        self.heed_nat();
        let there = match interface::all() {
            Ok(there) => there,
            Err(error) => return wanted.iter().map(|name| self.stay(name, &error)).collect(),
        };
        // By other names too, which no list has.
        let mut indexes = BTreeMap::new();
        for name in wanted {
            match interface::index(name) {
                Ok(index) => drop(indexes.insert(name.as_str(), index)),
                Err(KernelError::NoInterface { .. }) => {}
                Err(error) => return wanted.iter().map(|name| self.stay(name, &error)).collect(),
            }
        }
        let mut lost = false;
        let mut mended = BTreeMap::new();
        for one in self.attached() {
            let name = there.get(&one.ifindex);
            if let Ok(Some(outcome)) = name.map(|name| self.mend(&one, name)).transpose() {
                mended.insert(one.ifindex, outcome);
            } else {
                // It is gone, or cannot be judged any more as it was: from the beginning, then.
                self.release(&one);
                lost = true;
            }
        }
        self.links.forget_unwanted(wanted);
        let looks: Vec<Tended> = wanted
            .iter()
            .map(|name| self.tend_one(name, indexes.get(name.as_str()).copied(), &there, &mended))
            .collect();
        for one in self.attached() {
            if !wanted.contains(&one.interface) {
                tracing::info!(interface = one.interface, "no longer watched");
                self.release(&one);
                lost = true;
            }
        }
        let moved = lost || looks.iter().any(|look| look.state == State::Came);
        if moved && let Err(error) = self.settle() {
            tracing::warn!(%error, "the pins are not in order");
        }
        looks
    }

    /// How a wanted interface is where nobody can look.
    fn stay(&mut self, name: &str, error: &KernelError) -> Tended {
        let attached = self.attached().iter().any(|one| one.interface == name);
        // Somebody else's program on it is told anew when one can look again.
        let taken = self.links.taken.remove(name);
        let trouble = Trouble {
            cause: format!("whether {name} is there cannot be asked, so what is attached stays as it is: {error}"),
            mend: "asked again every second".to_owned(),
        };
        self.tell(name, Some(trouble));
        Tended {
            interface: name.to_owned(),
            state: match (attached, taken) {
                (true, _) => State::Attached,
                (false, true) => State::Refused,
                (false, false) => State::Absent,
            },
        }
    }

    fn tend_one(
        &mut self,
        name: &str,
        index: Option<u32>,
        there: &BTreeMap<u32, String>,
        mended: &BTreeMap<u32, Mended>,
    ) -> Tended {
        let tended = |state| Tended {
            interface: name.to_owned(),
            state,
        };
        let before = self.attached().into_iter().find(|one| one.interface == name);
        let (state, trouble) = match (before, index) {
            (Some(one), Some(index)) if one.ifindex == index => {
                mended.get(&index).cloned().unwrap_or((State::Attached, None))
            }
            (Some(one), None) => {
                let state = mended.get(&one.ifindex).map_or(State::Attached, |mended| mended.0);
                (state, Some(renamed(&one, there.get(&one.ifindex))))
            }
            (_, None) => {
                self.links.taken.remove(name);
                (State::Absent, Some(gone(name)))
            }
            (None, Some(_))
                if self.links.taken.contains(name) && occupant::xdp_ids(name).is_some_and(|ids| !ids.is_empty()) =>
            {
                return tended(State::Refused);
            }
            (before, Some(_)) => {
                if let Some(one) = before {
                    self.release(&one);
                }
                self.links.taken.remove(name);
                match self.attach_one(name, probe::tcx()) {
                    Ok(undo) => {
                        self.conclude(&undo);
                        (State::Came, None)
                    }
                    Err(KernelError::NoInterface { .. }) => (State::Absent, Some(gone(name))),
                    Err(error) => {
                        if matches!(error, KernelError::ForeignXdp { .. }) {
                            self.links.taken.insert(name.to_owned());
                        }
                        (State::Refused, Some(refused(name, &error)))
                    }
                }
            }
        };
        self.tell(name, trouble);
        let judged = state != State::Refused || self.attached().iter().any(|one| one.interface == name);
        let mut watched = self.links.watched.write().unwrap_or_else(PoisonError::into_inner);
        if judged {
            watched.bare.remove(name);
        } else {
            watched.bare.insert(name.to_owned());
        }
        drop(watched);
        tended(state)
    }

    /// Notes what is wrong with an interface, and says it once.
    fn tell(&self, name: &str, trouble: Option<Trouble>) {
        let mut watched = self.links.watched.write().unwrap_or_else(PoisonError::into_inner);
        let known = watched.missing.get(name);
        match trouble {
            Some(trouble) if known != Some(&trouble) => {
                tracing::warn!(
                    interface = name,
                    cause = trouble.cause,
                    mend = trouble.mend,
                    "interface"
                );
                watched.missing.insert(name.to_owned(), trouble);
            }
            Some(_) => {}
            None => {
                watched.missing.remove(name);
            }
        }
    }

    /// Attaches again what was taken off an interface that is there; what is in order is not touched.
    ///
    /// # Errors
    /// [`KernelError`] where what comes in cannot be judged any more.
    fn mend(&mut self, one: &Attachment, name: &str) -> Result<Mended, KernelError> {
        let mut undo = Undo::of(one, name, probe::tcx());
        let mut mended = (State::Attached, None);
        if !self.judges(one, name) {
            tracing::warn!(interface = name, mode = one.xdp_mode, "our program was taken off");
            self.drop_tc(one.ifindex, Direction::In);
            for kind in [Kind::Native, Kind::Generic, Kind::Ingress] {
                self.drop_pin(kind, one.ifindex);
            }
            let mut holding = Holding::default();
            let attached = self.attach_ingress(&mut holding, &mut undo);
            let (mode, fallback) = attached?;
            self.answer_on(name, one.ifindex, mode)?;
            if let Some((_, held)) = self.links.held.get_mut(&one.ifindex) {
                held.ingress = holding.ingress;
                held.tc.extend(holding.tc);
            }
            self.note(one.ifindex, |other| (other.xdp_mode, other.fallback) = (mode, fallback));
            mended.0 = State::Came;
        }
        if self.config.egress && !(one.egress && self.on_tc(one, name, Direction::Out)) {
            tracing::warn!(interface = name, "our program was taken off the egress");
            self.drop_tc(one.ifindex, Direction::Out);
            self.drop_pin(Kind::Egress, one.ifindex);
            mended = match self.attach_tc(Direction::Out, &mut undo) {
                Ok(held) => {
                    if let Some((_, holding)) = self.links.held.get_mut(&one.ifindex) {
                        holding.tc.push(held);
                    }
                    (State::Came, None)
                }
                Err(error) => (State::Refused, Some(unseen(name, &error))),
            };
            let egress = mended.0 == State::Came;
            self.note(one.ifindex, |other| other.egress = egress);
        }
        Ok(mended)
    }

    /// Whether our program judges what comes in by an interface.
    fn judges(&self, one: &Attachment, name: &str) -> bool {
        if one.xdp_mode == "tc" {
            return self.on_tc(one, name, Direction::In);
        }
        let ours = self.xdp_programs();
        // Where one of the two is not told, or the interface went between, the next look says so.
        let there = occupant::xdp_ids(name).filter(|_| !ours.is_empty());
        there.is_none_or(|there| there.iter().any(|(_, id)| ours.contains(id)))
    }

    /// Whether our program of one direction is on the interface's tc hook.
    fn on_tc(&self, one: &Attachment, name: &str, direction: Direction) -> bool {
        let held = self.links.held.get(&one.ifindex);
        let mut held = held.into_iter().flat_map(|(_, holding)| &holding.tc);
        held.any(|held| held.direction == direction && held.lives(name))
    }

    /// Lets go of what was attached to one direction of an interface's tc hook.
    fn drop_tc(&mut self, ifindex: u32, direction: Direction) {
        let Some((_, holding)) = self.links.held.get_mut(&ifindex) else {
            return;
        };
        let held = std::mem::take(&mut holding.tc);
        let (gone, rest): (Vec<_>, Vec<_>) = held.into_iter().partition(|held| held.direction == direction);
        holding.tc = rest;
        for held in gone {
            // Whether the qdisc is of our making stays known.
            if let Some(other) = holding.tc.first_mut() {
                other.clsact |= held.clsact;
            }
            held.let_go(ifindex);
        }
    }

    fn drop_pin(&self, kind: Kind, ifindex: u32) {
        if let Some(pins) = &self.pins {
            pins.drop_pin(kind, ifindex);
        }
    }

    /// Changes what is told of an attachment.
    fn note(&self, ifindex: u32, change: impl FnOnce(&mut Attachment)) {
        let mut watched = self.links.watched.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = watched.attached.iter_mut().find(|one| one.ifindex == ifindex) {
            change(one);
        }
    }

    fn release(&mut self, one: &Attachment) {
        self.links.let_go(one.ifindex);
        if let Some(pins) = &self.pins {
            pins.drop_all(one.ifindex);
        }
        // Held over the reading of the counters and their end, so that nobody sees them twice or not at all.
        let mut watched = self.links.watched.write().unwrap_or_else(PoisonError::into_inner);
        if let Ok(counted) = self.counters.slot(one.slot) {
            let sums = watched.carried.entry(one.interface.clone()).or_insert([0; _]);
            for (sum, counted) in sums.iter_mut().zip(counted) {
                *sum += counted;
            }
        }
        self.slots.release(one.slot);
        watched.attached.retain(|other| other.ifindex != one.ifindex);
    }

    /// Pins say what is watched now, and the maps of this run bear their names.
    pub(super) fn settle(&mut self) -> Result<(), KernelError> {
        let watched: Vec<u32> = self.attached().iter().map(|one| one.ifindex).collect();
        if let Some(pins) = &self.pins {
            pins.prune(&watched);
        }
        let watching = self.slots.watching();
        self.takeover
            .as_mut()
            .map_or(Ok(()), |takeover| takeover.commit(watching))
    }
}

/// How a wanted interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tended {
    /// Its name.
    pub interface: String,
    /// What was found or done.
    pub state: State,
}

/// What [`Kernel::tend`] found or did about an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Attached, as before.
    Attached,
    /// There is no such interface.
    Absent,
    /// It was not attached, in one direction or both, and is now.
    Came,
    /// It is there, and attaching failed.
    Refused,
}

pub(super) fn gone(name: &str) -> Trouble {
    Trouble {
        cause: format!("there is no interface `{name}`, so nothing of it is judged"),
        mend: "it is attached when it comes; take it off `kernel.interfaces` if it is gone for good".to_owned(),
    }
}

fn renamed(one: &Attachment, now: Option<&String>) -> Trouble {
    let now = now.map_or("", String::as_str);
    Trouble {
        cause: format!(
            "{} was renamed to {now}; it stays protected until the agent ends",
            one.interface
        ),
        mend: format!("put `{now}` into `kernel.interfaces`, or rename it back"),
    }
}

fn refused(name: &str, error: &KernelError) -> Trouble {
    Trouble {
        cause: format!("{name} is there and unprotected: {error}"),
        mend: "tried again every second".to_owned(),
    }
}

fn unseen(name: &str, error: &KernelError) -> Trouble {
    Trouble {
        cause: format!("what goes out of {name} is not seen, and not dropped: {error}"),
        mend: "tried again every second".to_owned(),
    }
}
