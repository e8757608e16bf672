//! Attaches to interfaces: ingress by XDP or tc as `kernel.hook` has it, egress by tc; follows interfaces that come
//! and go.
//!
//! Unless pinning was asked for, attachments are links held by descriptors: they end with the process, however it
//! ends. Only clsact filters (before Linux 6.6) are not; they are removed on drop, and by
//! [`detach_leftovers`](super::detach_leftovers) after a `kill -9`.

use super::error::KernelError;
use super::pin::{self, Kind};
use super::slots::Carried;
use super::tc::Direction;
use super::{Kernel, clsact, interface, occupant, probe, tc, xdp};
use crate::config::Hook;
use crate::types::Trouble;
use aya::programs::links::{FdLink, LinkError};
use aya::programs::xdp::XdpLink;
use sentinel_common::names as n;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

/// What is attached to one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its name, as configured.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// Where packets are judged on their way in: `native` or `generic` XDP, or `tc`.
    pub xdp_mode: &'static str,
    /// Why not native, where it is not.
    pub fallback: Option<String>,
    /// Whether the egress program is attached.
    pub egress: bool,
    /// Element of the counters.
    pub(super) slot: u32,
}

/// What is attached, what ought to be and is not, and what was counted by what is gone.
#[derive(Default)]
pub(super) struct Watched {
    pub(super) attached: Vec<Attachment>,
    pub(super) missing: BTreeMap<String, Trouble>,
    pub(super) carried: Carried,
}

/// The list that attaching writes and [`Counters`](super::Counters) read.
pub(super) type AttachedList = Arc<RwLock<Watched>>;

/// What is held of one interface. Dropping it detaches, except what is pinned.
#[derive(Default)]
struct Holding {
    ingress: Option<XdpLink>,
    tc: Vec<tc::Held>,
}

/// Held links, by interface index.
#[derive(Default)]
pub(super) struct Links {
    held: BTreeMap<u32, (String, Holding)>,
    /// Interfaces whose XDP hook was found taken: asking whose costs a walk over all processes, so it is done once.
    taken: BTreeSet<String>,
    watched: AttachedList,
}

impl Links {
    pub(super) fn attached(&self) -> AttachedList {
        Arc::clone(&self.watched)
    }

    fn let_go(&mut self, ifindex: u32) {
        let Some((interface, holding)) = self.held.remove(&ifindex) else {
            return;
        };
        let clsact = holding.tc.iter().any(|held| held.clsact);
        drop(holding);
        if clsact {
            // Only one of our own making goes, and only if nobody else uses it.
            let _ = clsact::remove(&interface);
        }
    }

    fn clear(&mut self) {
        for ifindex in self.held.keys().copied().collect::<Vec<_>>() {
            self.let_go(ifindex);
        }
        let mut watched = self.watched.write().unwrap_or_else(PoisonError::into_inner);
        watched.attached.clear();
        watched.missing.clear();
    }
}

/// Where packets are judged, over all interfaces: `native`, `native and tc`, `not attached`; for outcomes.
pub(super) fn mode(watched: &AttachedList) -> String {
    let watched = watched.read().unwrap_or_else(PoisonError::into_inner);
    let has = |mode: &&str| watched.attached.iter().any(|one| one.xdp_mode == *mode);
    let modes: Vec<&str> = ["native", "generic", "tc"].into_iter().filter(has).collect();
    if modes.is_empty() {
        "not attached".to_owned()
    } else {
        modes.join(" and ")
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Kernel {
    /// Attaches to each interface: all of them, or none.
    ///
    /// # Errors
    /// [`KernelError`]; everything is then detached, also what an earlier call attached.
    pub fn attach(&mut self, interfaces: &[String]) -> Result<(), KernelError> {
        self.attach_with(interfaces, probe::tcx())
    }

    /// As [`Kernel::attach`] for those of the interfaces that exist; the others are attached when they come (see
    /// [`Kernel::tend`]).
    ///
    /// # Errors
    /// As [`Kernel::attach`]; also where none of them exists.
    pub fn attach_present(&mut self, interfaces: &[String]) -> Result<(), KernelError> {
        let (there, absent): (Vec<_>, Vec<_>) = interfaces
            .iter()
            .cloned()
            .partition(|name| interface::index(name).is_ok());
        if there.is_empty() {
            return self.attach(interfaces);
        }
        self.attach(&there)?;
        let mut watched = self.links.watched.write().unwrap_or_else(PoisonError::into_inner);
        for name in absent {
            tracing::warn!(interface = name, existing = ?interface::names(), "does not exist; attached when it comes");
            let trouble = gone(&name);
            watched.missing.insert(name, trouble);
        }
        Ok(())
    }

    /// As [`Kernel::attach`], with the tc hooks of older kernels where `tcx` is false.
    ///
    /// # Errors
    /// As [`Kernel::attach`].
    pub fn attach_with(&mut self, interfaces: &[String], tcx: bool) -> Result<(), KernelError> {
        if interfaces.is_empty() {
            return Err(KernelError::NothingToWatch {
                existing: interface::names().join(", "),
            });
        }
        for name in interfaces {
            if let Err(error) = self.attach_one(name, tcx) {
                self.detach();
                return Err(error);
            }
        }
        self.slots.forget_untaken();
        self.heed_nat();
        self.settle()
    }

    /// Detaches everything that is not pinned. Maps, and what is in them, stay until the [`Kernel`] and the pinned
    /// programs go.
    pub fn detach(&mut self) {
        self.links.clear();
        self.slots.let_go();
    }

    /// What is attached where, and how.
    pub fn attached(&self) -> Vec<Attachment> {
        let watched = self.links.watched.read().unwrap_or_else(PoisonError::into_inner);
        watched.attached.clone()
    }

    /// Brings what is attached in line with the interfaces there are: attaches to those among `wanted` that came or
    /// came back, lets go of those that went or are no longer wanted. Returns how each wanted one is.
    ///
    /// An interface that was renamed stays protected under its index, until another takes its name.
    pub fn tend(&mut self, wanted: &[String]) -> Vec<Tended> {
        self.heed_nat();
        let mut lost = false;
        for one in self.attached() {
            if !self.lives(&one) {
                self.release(&one);
                lost = true;
            }
        }
        let looks: Vec<Tended> = wanted.iter().map(|name| self.tend_one(name)).collect();
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

    fn tend_one(&mut self, name: &str) -> Tended {
        let tended = |state| Tended {
            interface: name.to_owned(),
            state,
        };
        let index = interface::index(name).ok();
        let before = self.attached().into_iter().find(|one| one.interface == name);
        let (state, trouble) = match (before, index) {
            (Some(one), Some(index)) if one.ifindex == index => (State::Attached, None),
            (Some(one), None) => (State::Attached, Some(renamed(&one))),
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
                    Ok(()) => (State::Came, None),
                    Err(error) => {
                        if matches!(error, KernelError::ForeignXdp { .. }) {
                            self.links.taken.insert(name.to_owned());
                        }
                        (State::Refused, Some(refused(name, &error)))
                    }
                }
            }
        };
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
        tended(state)
    }

    /// Whether an attachment still does its work: its interface is there, and so is our program.
    fn lives(&self, one: &Attachment) -> bool {
        let Some(name) = interface::name(one.ifindex) else {
            return false;
        };
        if one.xdp_mode == "tc" {
            return true;
        }
        let ours = self.xdp_programs();
        // The interface may go between the two questions; then the next look says so.
        let there = occupant::xdp_ids(&name);
        there.is_none_or(|there| there.iter().any(|(_, id)| ours.contains(id)))
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
    fn settle(&mut self) -> Result<(), KernelError> {
        let watched: Vec<u32> = self.attached().iter().map(|one| one.ifindex).collect();
        if let Some(pins) = &self.pins {
            pins.prune(&watched);
        }
        let owners = self.slots.owners();
        self.takeover
            .as_mut()
            .map_or(Ok(()), |takeover| takeover.commit(owners))
    }

    fn attach_one(&mut self, name: &str, tcx: bool) -> Result<(), KernelError> {
        let ifindex = interface::index(name)?;
        interface::require_ethernet(name)?;
        let slot = self.slot(name, ifindex)?;
        let mut holding = Holding::default();
        let attached = self.attach_hooks(name, ifindex, tcx, &mut holding);
        self.links.held.insert(ifindex, (name.to_owned(), holding));
        let (xdp_mode, fallback) = match attached {
            Ok(mode) => mode,
            Err(error) => {
                self.links.let_go(ifindex);
                self.slots.release(slot);
                return Err(error);
            }
        };
        let attachment = Attachment {
            interface: name.to_owned(),
            ifindex,
            xdp_mode,
            fallback,
            egress: self.config.egress,
            slot,
        };
        tracing::info!(
            interface = name,
            ifindex,
            mode = xdp_mode,
            fallback = attachment.fallback,
            "attached"
        );
        let mut watched = self.links.watched.write().unwrap_or_else(PoisonError::into_inner);
        watched.attached.push(attachment);
        Ok(())
    }

    /// Both directions; what `holding` got stays there, also where a later step failed.
    fn attach_hooks(
        &mut self,
        name: &str,
        ifindex: u32,
        tcx: bool,
        holding: &mut Holding,
    ) -> Result<(&'static str, Option<String>), KernelError> {
        let mode = self.attach_ingress(name, ifindex, tcx, holding)?;
        self.answer_on(name, ifindex, mode.0)?;
        if self.config.egress {
            let pins = self.pins.as_ref();
            let held = tc::attach(&mut self.ebpf, pins, Direction::Out, name, ifindex, tcx)?;
            holding.tc.push(held);
        } else {
            // One that an earlier agent pinned would go on by that agent's settings, and maps it may have had to itself.
            self.leave(name, ifindex, &[Kind::Egress], tcx);
        }
        Ok(mode)
    }

    /// Gives the interface its own element of the counters.
    fn slot(&mut self, name: &str, ifindex: u32) -> Result<u32, KernelError> {
        let attached = self.attached();
        let element = ifindex % n::SLOT_TABLE;
        if let Some(other) = attached.iter().find(|one| one.ifindex % n::SLOT_TABLE == element) {
            return Err(KernelError::SlotTaken {
                interface: name.to_owned(),
                other: other.interface.clone(),
                table: n::SLOT_TABLE,
            });
        }
        self.slots.take(ifindex)
    }

    /// XDP or tc, as configured and as can be had.
    fn attach_ingress(
        &mut self,
        name: &str,
        ifindex: u32,
        tcx: bool,
        holding: &mut Holding,
    ) -> Result<(&'static str, Option<String>), KernelError> {
        if self.pins.is_none() && pin::left_behind(&self.config.pin_path, name) {
            let path = self.config.pin_path.display().to_string();
            return Err(KernelError::Pinned {
                interface: name.to_owned(),
                path,
            });
        }
        let why = if self.config.hook == Hook::Tc {
            "wanted: `kernel.hook: tc`".to_owned()
        } else {
            match self.attach_xdp(name, ifindex, holding) {
                Err(error @ (KernelError::ForeignXdp { .. } | KernelError::Xdp { .. }))
                    if self.config.hook == Hook::Auto =>
                {
                    error.to_string()
                }
                attached => {
                    // Where an earlier agent judged on tc there are two now, for a moment.
                    self.leave(name, ifindex, &[Kind::Ingress], tcx);
                    return attached;
                }
            }
        };
        let held = tc::attach(&mut self.ebpf, self.pins.as_ref(), Direction::In, name, ifindex, tcx)?;
        holding.tc.push(held);
        self.leave(name, ifindex, &[Kind::Native, Kind::Generic], tcx);
        Ok(("tc", Some(why)))
    }

    /// Takes down what an earlier agent pinned on hooks that are not used any more, now that another is.
    fn leave(&self, name: &str, ifindex: u32, hooks: &[Kind], tcx: bool) {
        let Some(pins) = &self.pins else { return };
        for kind in hooks {
            pins.drop_pin(*kind, ifindex);
        }
        for (kind, direction) in [(Kind::Ingress, Direction::In), (Kind::Egress, Direction::Out)] {
            if !tcx && hooks.contains(&kind) {
                tc::remove_filter(name, direction);
            }
        }
    }

    /// Takes over a pinned XDP link, or attaches anew; pins where that was asked for.
    fn attach_xdp(
        &mut self,
        name: &str,
        ifindex: u32,
        holding: &mut Holding,
    ) -> Result<(&'static str, Option<String>), KernelError> {
        if let Some(pins) = &self.pins {
            for (kind, mode) in [(Kind::Native, "native"), (Kind::Generic, "generic")] {
                if xdp::swap(&mut self.ebpf, pins, kind, ifindex)? {
                    let fallback = (mode == "generic").then(|| "taken over from the run before".to_owned());
                    return Ok((mode, fallback));
                }
            }
        }
        let (link, mode, fallback) = xdp::attach(&mut self.ebpf, name, self.config.force_generic)?;
        let kind = if mode == "native" { Kind::Native } else { Kind::Generic };
        match &self.pins {
            Some(pins) => pins.keep(pinnable(link)?, kind, ifindex)?,
            None => holding.ingress = Some(link),
        }
        Ok((mode, fallback))
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
    /// It was not attached, and is now.
    Came,
    /// It is there, and attaching failed.
    Refused,
}

fn gone(name: &str) -> Trouble {
    Trouble {
        cause: format!("there is no interface `{name}`, so nothing of it is judged"),
        mend: "it is attached when it comes; take it off `kernel.interfaces` if it is gone for good".to_owned(),
    }
}

fn renamed(one: &Attachment) -> Trouble {
    let now = interface::name(one.ifindex).unwrap_or_default();
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

/// The descriptor behind a link. Before Linux 5.9 XDP is attached without one, and cannot be pinned.
pub(super) fn pinnable<L>(link: L) -> Result<FdLink, KernelError>
where
    FdLink: TryFrom<L, Error = LinkError>,
{
    FdLink::try_from(link).map_err(|_| KernelError::System {
        call: "pinning".to_owned(),
        source: std::io::Error::other("this kernel attaches without links; set `kernel.pin: false`"),
    })
}
