//! What attaching to an interface changed of what an earlier agent pinned there, so that a start that fails leaves it
//! as it was; and what is to be taken down once the start succeeded.

use super::attach::Attachment;
use super::error::{KernelError, chain, errno};
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
use std::io;

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
    /// Ours stands where one did that could not be held, and why it could not: it cannot be put back.
    Unknown(Kind, String),
    /// Whether cookies were held back on the interface.
    Muted(bool),
}

/// Why our program was not put into a pinned link.
pub(super) struct Refusal {
    code: Option<i32>,
    cause: String,
}

impl Refusal {
    pub(super) fn new(error: &(dyn std::error::Error + 'static)) -> Self {
        Self {
            code: errno(error),
            cause: chain(error),
        }
    }

    /// Whether the link attaches nothing any more: its interface is gone, or it was detached by force.
    pub(super) fn is_dead(&self) -> bool {
        self.code == Some(libc::ENOLINK)
    }
}

/// What came of swapping our program into a pinned link.
pub(super) enum Swap {
    /// Ours is in it.
    Done(Step),
    /// It is of no use, and its pin may go: this is its program, if it has one that judges packets.
    Useless(Option<Former>),
}

impl Swap {
    /// Notes it; whether ours is in the link. Where it is of no use, a new attachment takes its place.
    pub(super) fn settle(
        self,
        pins: &Pins,
        (kind, ifindex): (Kind, u32),
        steps: &mut Vec<Step>,
        former: &mut Option<Former>,
    ) -> bool {
        match self {
            Self::Done(step) => {
                steps.push(step);
                true
            }
            Self::Useless(before) => {
                *former = before;
                pins.drop_pin(kind, ifindex);
                false
            }
        }
    }

    /// Judges by what the kernel said to the swap, and by what is known of the program `before`.
    ///
    /// # Errors
    /// [`KernelError::System`] where the link may judge packets still, and what it attaches could not be put back: its
    /// pin is to stay.
    pub(super) fn judge(
        kind: Kind,
        interface: &str,
        swapped: Result<(), Refusal>,
        before: Result<Option<Former>, KernelError>,
    ) -> Result<Self, KernelError> {
        match (swapped, before) {
            (Ok(()), Ok(Some(former))) => Ok(Self::Done(Step::Swapped(kind, former))),
            // A link that can be swapped attaches something, whatever was seen on the interface.
            (Ok(()), Ok(None)) => {
                let why = "it was not found on the interface".to_owned();
                Ok(Self::Done(Step::Unknown(kind, why)))
            }
            (Ok(()), Err(error)) => Ok(Self::Done(Step::Unknown(kind, error.to_string()))),
            (Err(_), Ok(former)) => Ok(Self::Useless(former)),
            (Err(refusal), Err(_)) if refusal.is_dead() => Ok(Self::Useless(None)),
            (Err(refusal), Err(error)) => Err(KernelError::System {
                call: format!(
                    "the program that an earlier agent pinned on {interface} judges on: it cannot be replaced ({}), \
                     nor be put back if it were taken off (`sentinel detach` takes it off)",
                    refusal.cause
                ),
                source: io::Error::other(error.to_string()),
            }),
        }
    }
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
    fn new(info: ProgramInfo, kind: Kind) -> Result<Self, KernelError> {
        let xdp = |info| Xdp::from_program_info(info, n::PROG_XDP.into(), XdpAttachType::Interface).map(Self::Xdp);
        let tc = |info, name: &'static str| SchedClassifier::from_program_info(info, name.into()).map(Self::Tc);
        let held = match kind {
            Kind::Native | Kind::Generic => xdp(info),
            Kind::Ingress => tc(info, n::PROG_INGRESS),
            Kind::Egress => tc(info, n::PROG_EGRESS),
        };
        held.map_err(|error| cannot_hold(&error))
    }

    /// The program in a pinned link, if it judges packets: the link of an interface that is gone does not.
    ///
    /// # Errors
    /// [`KernelError::System`] where it cannot be looked, or the kernel does not give it out: without `CAP_SYS_ADMIN`
    /// (`BPF_PROG_GET_FD_BY_ID`).
    pub(super) fn of_link(link: &FdLink, kind: Kind, interface: &str) -> Result<Option<Self>, KernelError> {
        let id = link.info().map_err(|error| cannot_hold(&error))?.program_id();
        let ids: Option<Vec<u32>> = match kind {
            Kind::Native | Kind::Generic => {
                occupant::xdp_ids(interface).map(|ids| ids.into_iter().map(|(_, id)| id).collect())
            }
            Kind::Ingress => occupant::tc_ids(interface, Direction::In.hook()),
            Kind::Egress => occupant::tc_ids(interface, Direction::Out.hook()),
        };
        let ids = ids.ok_or_else(|| untold(interface))?;
        if !ids.contains(&id) {
            return Ok(None);
        }
        match loaded(|info| info.id() == id)? {
            Some(info) => Self::new(info, kind).map(Some),
            None => Err(untold(interface)),
        }
    }

    /// The program of a filter that an earlier agent left on a clsact qdisc.
    ///
    /// # Errors
    /// As [`Former::of_link`]. The errno is EPERM where the kernel gives out none.
    pub(super) fn of_filter(interface: &str, direction: Direction) -> Result<Option<Self>, KernelError> {
        let ids = occupant::tc_ids(interface, direction.hook()).ok_or_else(|| untold(interface))?;
        if ids.is_empty() {
            return Ok(None);
        }
        // The kernel keeps 15 characters of a name.
        let name = direction.program().as_bytes();
        let name = name.get(..15).unwrap_or(name);
        loaded(|info| ids.contains(&info.id()) && info.name() == name)?
            .map(|info| Self::new(info, direction.kind()))
            .transpose()
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

/// The first loaded program that is so; `None` only where all could be looked at.
fn loaded(wanted: impl Fn(&ProgramInfo) -> bool) -> Result<Option<ProgramInfo>, KernelError> {
    let mut unseen = None;
    for info in loaded_programs() {
        match info {
            Ok(info) if wanted(&info) => return Ok(Some(info)),
            Ok(_) => {}
            // It went between the two questions.
            Err(error) if errno(&error) == Some(libc::ENOENT) => {}
            Err(error) => unseen = Some(error),
        }
    }
    unseen.map_or(Ok(None), |error| Err(cannot_hold(&error)))
}

fn cannot_hold(error: &(dyn std::error::Error + 'static)) -> KernelError {
    KernelError::System {
        call: "holding the program before".to_owned(),
        source: errno(error).map_or_else(|| io::Error::other(chain(error)), io::Error::from_raw_os_error),
    }
}

fn untold(interface: &str) -> KernelError {
    KernelError::System {
        call: "holding the program before".to_owned(),
        source: io::Error::other(format!("the kernel does not say which programs are on {interface}")),
    }
}

impl Kernel {
    /// Puts everything back as it was before attaching to an interface, as far as the kernel gave out what was there.
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
            if let Step::Unknown(kind, why) = &step {
                tracing::warn!(
                    interface,
                    hook = ?kind,
                    why,
                    "the program before cannot be put back, as it could not be held; what took its place stays"
                );
            }
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
            (Step::Unknown(..), _) | (Step::Swapped(..) | Step::Pinned(..), None) => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_could_not_be_held_is_not_taken_for_none() {
        let refused = |code| Err(Refusal::new(&io::Error::from_raw_os_error(code)));
        let unheld = || Err(cannot_hold(&io::Error::from_raw_os_error(libc::EPERM)));
        let judge = |swapped, before| Swap::judge(Kind::Native, "eth0", swapped, before);

        let done = judge(Ok(()), unheld());
        assert!(matches!(done, Ok(Swap::Done(Step::Unknown(Kind::Native, why))) if why.contains("not permitted")));
        let done = judge(Ok(()), Ok(None));
        assert!(matches!(done, Ok(Swap::Done(Step::Unknown(Kind::Native, _)))));

        let error = judge(refused(libc::EBUSY), unheld()).err().unwrap().to_string();
        assert!(
            error.contains("eth0 judges on") && error.contains("sentinel detach"),
            "{error}"
        );
        // The pin goes where nothing hangs from it.
        let useless = judge(refused(libc::EBUSY), Ok(None));
        assert!(matches!(useless, Ok(Swap::Useless(None))));
        let useless = judge(refused(libc::ENOLINK), unheld());
        assert!(matches!(useless, Ok(Swap::Useless(None))));
    }

    #[test]
    fn that_the_kernel_gives_no_program_out_is_told_from_other_failures() {
        for code in [libc::EPERM, libc::EMFILE] {
            let error = cannot_hold(&io::Error::from_raw_os_error(code));
            assert_eq!(errno(&error), Some(code), "{error}");
        }
        assert_eq!(errno(&untold("eth0")), None);
    }
}
