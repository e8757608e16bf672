//! What attaching to an interface changed of what an earlier agent pinned there, so that a start that fails leaves it
//! as it was; and what is to be taken down once the start succeeded.

use super::attach::Attachment;
use super::error::{KernelError, chain};
use super::pin::{Kind, Pins};
use super::slots::Taken;
use super::tc::{self, Direction};
use super::{Kernel, clsact, occupant};
use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramInfo, SchedClassifier, Xdp, XdpMode, loaded_programs};
use aya_obj::programs::XdpAttachType;
use sentinel_common::names as n;

/// A program of the agent before, held until it is certain that ours takes its place.
pub(super) enum Former {
    Xdp(Xdp),
    Tc(SchedClassifier),
}

/// One change.
pub(super) enum Step {
    /// Ours is in a pinned link that had this one.
    Swapped(Kind, Former),
    /// A new attachment was pinned, in the place of one with this program that could not be swapped.
    Pinned(Kind, Option<Former>),
    /// A filter that keeps itself stands where this one did, on a clsact qdisc of our making or not.
    Filter(Direction, Option<Former>, bool),
    /// Whether cookies were held back on the interface.
    Muted(bool),
}

/// The changes on one interface.
pub(super) struct Undo {
    pub(super) interface: String,
    pub(super) ifindex: u32,
    pub(super) tcx: bool,
    pub(super) taken: Taken,
    pub(super) steps: Vec<Step>,
    /// Hooks that an earlier agent may have used and this one does not.
    pub(super) leave: Vec<Kind>,
}

impl Undo {
    /// For a change on an interface that is attached to.
    pub(super) fn of(one: &Attachment, name: &str, tcx: bool) -> Self {
        Self {
            interface: name.to_owned(),
            ifindex: one.ifindex,
            tcx,
            taken: Taken::old(one.slot),
            steps: Vec::new(),
            leave: Vec::new(),
        }
    }
}

impl Former {
    fn new(info: ProgramInfo, kind: Kind) -> Option<Self> {
        let xdp = |info| Xdp::from_program_info(info, n::PROG_XDP.into(), XdpAttachType::Interface).map(Self::Xdp);
        let tc = |info, name: &'static str| SchedClassifier::from_program_info(info, name.into()).map(Self::Tc);
        let held = match kind {
            Kind::Native | Kind::Generic => xdp(info),
            Kind::Ingress => tc(info, n::PROG_INGRESS),
            Kind::Egress => tc(info, n::PROG_EGRESS),
        };
        held.inspect_err(|error| tracing::warn!(error = chain(error), "the program before cannot be held"))
            .ok()
    }

    /// The program in a pinned link, if it judges packets: the link of an interface that is gone does not.
    pub(super) fn of_link(link: &FdLink, kind: Kind, interface: &str) -> Option<Self> {
        let id = link.info().ok()?.program_id();
        let there = match kind {
            Kind::Native | Kind::Generic => occupant::xdp_ids(interface)?.iter().any(|(_, other)| *other == id),
            Kind::Ingress => occupant::tc_ids(interface, Direction::In.hook())?.contains(&id),
            Kind::Egress => occupant::tc_ids(interface, Direction::Out.hook())?.contains(&id),
        };
        let info = loaded_programs().flatten().find(|info| there && info.id() == id)?;
        Self::new(info, kind)
    }

    /// The program of a filter that an earlier agent left on a clsact qdisc.
    pub(super) fn of_filter(interface: &str, direction: Direction) -> Option<Self> {
        let ids = occupant::tc_ids(interface, direction.hook())?;
        // The kernel keeps 15 characters of a name.
        let name = &direction.program().as_bytes()[..direction.program().len().min(15)];
        let info = loaded_programs()
            .flatten()
            .find(|info| ids.contains(&info.id()) && info.name() == name)?;
        Self::new(info, direction.kind())
    }

    /// Puts it back into the link that is pinned.
    fn swap_back(&mut self, pins: &Pins, kind: Kind, ifindex: u32) -> Result<(), String> {
        let link = pins.find(kind, ifindex).map_err(|error| error.to_string())?;
        let link = link.ok_or("its pin is gone")?;
        match self {
            Self::Xdp(program) => XdpLink::try_from(link)
                .map_err(|error| chain(&error))
                .and_then(|link| program.attach_to_link(link).map_err(|error| chain(&error)))
                .and_then(|id| program.take_link(id).map_err(|error| chain(&error)))
                .map(drop),
            Self::Tc(program) => SchedClassifierLink::try_from(link)
                .map_err(|error| chain(&error))
                .and_then(|link| program.attach_to_link(link).map_err(|error| chain(&error)))
                .and_then(|id| program.take_link(id).map_err(|error| chain(&error)))
                .map(drop),
        }
    }

    /// Attaches it anew, and pins it.
    fn attach_again(&mut self, pins: &Pins, kind: Kind, interface: &str, ifindex: u32) -> Result<(), String> {
        let link = match self {
            Self::Xdp(program) => {
                let mode = if kind == Kind::Native {
                    XdpMode::Driver
                } else {
                    XdpMode::Skb
                };
                let link = program.attach(interface, mode).and_then(|id| program.take_link(id));
                link.map_err(|error| chain(&error))
                    .and_then(|link| FdLink::try_from(link).map_err(|error| chain(&error)))
            }
            Self::Tc(program) => {
                let direction = if kind == Kind::Ingress {
                    Direction::In
                } else {
                    Direction::Out
                };
                let link = program
                    .attach_with_options(
                        interface,
                        direction.hook(),
                        TcAttachOptions::TcxOrder(LinkOrder::default()),
                    )
                    .and_then(|id| program.take_link(id));
                link.map_err(|error| chain(&error))
                    .and_then(|link| FdLink::try_from(link).map_err(|error| chain(&error)))
            }
        };
        link.and_then(|link| pins.keep(link, kind, ifindex).map_err(|error| error.to_string()))
    }

    /// Hangs it from the clsact qdisc again, to stay.
    fn filter_again(&mut self, interface: &str, direction: Direction) -> Result<(), String> {
        let Self::Tc(program) = self else { return Ok(()) };
        program
            .attach_with_options(
                interface,
                direction.hook(),
                TcAttachOptions::Netlink(NlOptions::default()),
            )
            .and_then(|id| program.take_link(id))
            .map(std::mem::forget)
            .map_err(|error| chain(&error))
    }
}

impl Kernel {
    /// Puts everything back as it was before attaching to an interface.
    pub(super) fn roll_back(&mut self, undo: Undo) {
        let Undo {
            interface,
            ifindex,
            taken,
            steps,
            ..
        } = undo;
        self.links.let_go(ifindex);
        for step in steps.into_iter().rev() {
            let done = self.step_back(step, &interface, ifindex);
            if let Err(error) = done {
                tracing::error!(interface, error, "the program before cannot be put back");
            }
        }
        self.slots.untake(taken);
    }

    fn step_back(&mut self, step: Step, interface: &str, ifindex: u32) -> Result<(), String> {
        match (step, &self.pins) {
            (Step::Muted(mute), _) => self
                .mute(ifindex, mute)
                .map(drop)
                .map_err(|error: KernelError| error.to_string()),
            (Step::Swapped(kind, mut former), Some(pins)) => former.swap_back(pins, kind, ifindex),
            (Step::Pinned(kind, former), Some(pins)) => {
                pins.drop_pin(kind, ifindex);
                former.map_or(Ok(()), |mut former| former.attach_again(pins, kind, interface, ifindex))
            }
            (Step::Filter(direction, former, clsact), _) => {
                tc::remove_filter(interface, direction);
                if clsact {
                    let _ = clsact::remove(interface);
                }
                former.map_or(Ok(()), |mut former| former.filter_again(interface, direction))
            }
            (Step::Swapped(..) | Step::Pinned(..), None) => Ok(()),
        }
    }

    /// Takes down what an earlier agent pinned on hooks that are not used any more, now that others are.
    pub(super) fn conclude(&self, undo: &Undo) {
        let Some(pins) = &self.pins else { return };
        for kind in &undo.leave {
            pins.drop_pin(*kind, undo.ifindex);
        }
        for (kind, direction) in [(Kind::Ingress, Direction::In), (Kind::Egress, Direction::Out)] {
            if !undo.tcx && undo.leave.contains(&kind) {
                tc::remove_filter(&undo.interface, direction);
            }
        }
    }
}
