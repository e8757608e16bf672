//! Attaches to interfaces: ingress by XDP or tc as `kernel.hook` has it, egress by tc; follows interfaces that come
//! and go.
//!
//! Unless pinning was asked for, attachments are links held by descriptors: they end with the process, however it
//! ends. Only clsact filters (before Linux 6.6) are not; they are removed on drop, and by
//! [`detach_leftovers`](super::detach_leftovers) after a `kill -9`.

use super::error::KernelError;
use super::pin::{self, Kind};
use super::slots::{Carried, Taken};
use super::tc::Direction;
use super::undo::{Step, Undo};
use super::{Kernel, clsact, interface, probe, tc, xdp};
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
    /// Wanted interfaces that are there and on which our program cannot be: their packets pass.
    pub(super) bare: BTreeSet<String>,
    pub(super) carried: Carried,
}

/// The list that attaching writes and [`Counters`](super::Counters) read.
pub(super) type AttachedList = Arc<RwLock<Watched>>;

/// What is held of one interface. Dropping it detaches, except what is pinned.
#[derive(Default)]
pub(super) struct Holding {
    pub(super) ingress: Option<XdpLink>,
    pub(super) tc: Vec<tc::Held>,
}

/// Held links, by interface index.
#[derive(Default)]
pub(super) struct Links {
    pub(super) held: BTreeMap<u32, (String, Holding)>,
    /// Interfaces whose XDP hook was found taken: asking whose costs a walk over all processes, so it is done once.
    pub(super) taken: BTreeSet<String>,
    pub(super) watched: AttachedList,
}

impl Links {
    pub(super) fn attached(&self) -> AttachedList {
        Arc::clone(&self.watched)
    }

    pub(super) fn let_go(&mut self, ifindex: u32) {
        let Some((interface, holding)) = self.held.remove(&ifindex) else {
            return;
        };
        let clsact = holding.tc.iter().any(|held| held.clsact);
        drop(holding.ingress);
        for held in holding.tc {
            held.let_go(ifindex);
        }
        if clsact {
            // Only one of our own making goes, and only if nobody else uses it.
            let _ = clsact::remove(&interface);
        }
    }

    /// What is not wanted any more is not bare either.
    pub(super) fn forget_unwanted(&self, wanted: &[String]) {
        let mut watched = self.watched.write().unwrap_or_else(PoisonError::into_inner);
        watched.bare.retain(|name| wanted.contains(name));
    }

    fn clear(&mut self) {
        for ifindex in self.held.keys().copied().collect::<Vec<_>>() {
            self.let_go(ifindex);
        }
        let mut watched = self.watched.write().unwrap_or_else(PoisonError::into_inner);
        watched.attached.clear();
        watched.missing.clear();
        watched.bare.clear();
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

/// The interfaces whose egress program was taken off and cannot be attached again, where there is to be one.
pub(super) fn unseen(watched: &AttachedList) -> String {
    let watched = watched.read().unwrap_or_else(PoisonError::into_inner);
    let unseen = watched.attached.iter().filter(|one| !one.egress);
    let names: Vec<&str> = unseen.map(|one| one.interface.as_str()).collect();
    names.join(", ")
}

/// The wanted interfaces that are there and whose packets nobody judges.
pub(super) fn bare(watched: &AttachedList) -> String {
    let watched = watched.read().unwrap_or_else(PoisonError::into_inner);
    let names: Vec<&str> = watched.bare.iter().map(String::as_str).collect();
    names.join(", ")
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
    /// [`KernelError`]; everything is then detached, also what an earlier call attached, and what an earlier agent
    /// pinned judges on as it did. Where the kernel gives no program out (without `CAP_SYS_ADMIN`), ours stays in the
    /// place of one that was replaced already, and a warning says so.
    pub fn attach(&mut self, interfaces: &[String]) -> Result<(), KernelError> {
        self.attach_with(interfaces, probe::tcx())
    }

    /// As [`Kernel::attach`] for those of the interfaces that exist; the others are attached when they come (see
    /// [`Kernel::tend`]).
    ///
    /// # Errors
    /// As [`Kernel::attach`]; also where none of them exists.
    pub fn attach_present(&mut self, interfaces: &[String]) -> Result<(), KernelError> {
        let (mut there, mut absent) = (Vec::new(), Vec::new());
        for name in interfaces {
            match interface::index(name) {
                Ok(_) => there.push(name.clone()),
                Err(KernelError::NoInterface { .. }) => absent.push(name.clone()),
                Err(error) => return Err(error),
            }
        }
        if there.is_empty() {
            return self.attach(interfaces);
        }
        self.attach(&there)?;
        let mut watched = self.links.watched.write().unwrap_or_else(PoisonError::into_inner);
        for name in absent {
            tracing::warn!(interface = name, existing = ?interface::names(), "does not exist; attached when it comes");
            let trouble = super::tend::gone(&name);
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
                hint: probe::own_interfaces(),
            });
        }
        if interfaces.len() > n::WATCHED_INTERFACES as usize {
            return Err(KernelError::TooManyInterfaces {
                wanted: interfaces.len(),
                max: n::WATCHED_INTERFACES,
            });
        }
        let mut done = Vec::new();
        for name in interfaces {
            match self.attach_one(name, tcx) {
                Ok(undo) => done.push(undo),
                Err(error) => {
                    for undo in done.into_iter().rev() {
                        self.roll_back(undo);
                    }
                    self.detach();
                    return Err(error);
                }
            }
        }
        for undo in &done {
            self.conclude(undo);
        }
        let settled = self.settle();
        let known = if tcx || self.slots.untaken().next().is_none() {
            Ok(BTreeMap::new())
        } else {
            interface::all()
        };
        match known {
            Ok(known) => {
                for name in self.slots.untaken().filter_map(|ifindex| known.get(&ifindex)) {
                    tc::remove_filter(name, Direction::In);
                    tc::remove_filter(name, Direction::Out);
                }
                // Now that nobody counts there.
                self.slots.forget_untaken();
            }
            Err(error) => tracing::warn!(
                indexes = ?self.slots.untaken().collect::<Vec<_>>(),
                %error,
                "filters of the agent before go on judging packets of interfaces that are no longer watched, as their \
                 names cannot be asked for: `sentinel detach`, then start again"
            ),
        }
        self.heed_nat();
        settled
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

    pub(super) fn attach_one(&mut self, name: &str, tcx: bool) -> Result<Undo, KernelError> {
        let ifindex = interface::index(name)?;
        interface::require_ethernet(name)?;
        let taken = self.slot(name, ifindex)?;
        let mut undo = Undo {
            interface: name.to_owned(),
            ifindex,
            tcx,
            taken,
            steps: Vec::new(),
            leave: Vec::new(),
        };
        let mut holding = Holding::default();
        let attached = self.attach_hooks(&mut holding, &mut undo);
        self.links.held.insert(ifindex, (name.to_owned(), holding));
        let (xdp_mode, fallback) = match attached {
            Ok(mode) => mode,
            Err(error) => {
                self.roll_back(undo);
                return Err(error);
            }
        };
        let attachment = Attachment {
            interface: name.to_owned(),
            ifindex,
            xdp_mode,
            fallback,
            egress: self.config.egress,
            slot: taken.slot,
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
        Ok(undo)
    }

    /// Both directions; what `holding` and `undo` got stays there, also where a later step failed.
    fn attach_hooks(
        &mut self,
        holding: &mut Holding,
        undo: &mut Undo,
    ) -> Result<(&'static str, Option<String>), KernelError> {
        let mode = self.attach_ingress(holding, undo)?;
        let muted = self.answer_on(&undo.interface, undo.ifindex, mode.0)?;
        undo.steps.push(Step::Muted(muted));
        if self.config.egress {
            let held = self.attach_tc(Direction::Out, undo)?;
            holding.tc.push(held);
        } else {
            // One that an earlier agent pinned would go on by that agent's settings, and maps it may have had to itself.
            undo.leave.push(Kind::Egress);
        }
        Ok(mode)
    }

    pub(super) fn attach_tc(&mut self, direction: Direction, undo: &mut Undo) -> Result<tc::Held, KernelError> {
        let Undo {
            interface,
            ifindex,
            tcx,
            steps,
            ..
        } = undo;
        let pins = self.pins.as_ref();
        tc::attach(&mut self.ebpf, pins, direction, interface, *ifindex, *tcx, steps)
    }

    /// Gives the interface its own element of the counters.
    fn slot(&mut self, name: &str, ifindex: u32) -> Result<Taken, KernelError> {
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

    /// XDP or tc, as configured and as can be had. Where an earlier agent judged on the other there are two until all is
    /// attached.
    pub(super) fn attach_ingress(
        &mut self,
        holding: &mut Holding,
        undo: &mut Undo,
    ) -> Result<(&'static str, Option<String>), KernelError> {
        if self.pins.is_none() && pin::left_behind(&self.config.pin_path, &undo.interface) {
            let path = self.config.pin_path.display().to_string();
            return Err(KernelError::Pinned {
                interface: undo.interface.clone(),
                path,
            });
        }
        let why = if self.config.hook == Hook::Tc {
            "wanted: `kernel.hook: tc`".to_owned()
        } else {
            match self.attach_xdp(holding, undo) {
                Err(error @ (KernelError::ForeignXdp { .. } | KernelError::Xdp { .. }))
                    if self.config.hook == Hook::Auto =>
                {
                    error.to_string()
                }
                attached => {
                    undo.leave.push(Kind::Ingress);
                    return attached;
                }
            }
        };
        let held = self.attach_tc(Direction::In, undo)?;
        holding.tc.push(held);
        undo.leave.extend([Kind::Native, Kind::Generic]);
        Ok(("tc", Some(why)))
    }

    /// Takes over a pinned XDP link, or attaches anew; pins where that was asked for.
    fn attach_xdp(
        &mut self,
        holding: &mut Holding,
        undo: &mut Undo,
    ) -> Result<(&'static str, Option<String>), KernelError> {
        let (name, ifindex) = (undo.interface.as_str(), undo.ifindex);
        for (kind, mode) in [(Kind::Native, "native"), (Kind::Generic, "generic")] {
            let Some(pins) = &self.pins else { break };
            let mut former = None;
            if xdp::swap(&mut self.ebpf, pins, kind, name, ifindex, &mut undo.steps, &mut former)? {
                let fallback = (mode == "generic").then(|| "taken over from the run before".to_owned());
                return Ok((mode, fallback));
            }
            if former.is_some() {
                undo.steps.push(Step::Pinned(kind, former));
            }
        }
        let (link, mode, fallback) = xdp::attach(&mut self.ebpf, name, self.config.force_generic)?;
        let kind = if mode == "native" { Kind::Native } else { Kind::Generic };
        match &self.pins {
            Some(pins) => {
                undo.steps.push(Step::Pinned(kind, None));
                pins.keep(pinnable(link)?, kind, ifindex)?;
            }
            None => holding.ingress = Some(link),
        }
        Ok((mode, fallback))
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
