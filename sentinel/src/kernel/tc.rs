//! Attaching to tc: tcx links from Linux 6.6 on, filters on a clsact qdisc before.

use super::error::{KernelError, chain, errno, insist};
use super::load::classifier;
use super::pin::{Kind, Pins};
use super::undo::{Former, Refusal, Step, Swap};
use super::{clsact, interface, occupant};
use aya::Ebpf;
use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, qdisc_detach_program};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use sentinel_common::names as n;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

impl Direction {
    pub(super) const fn hook(self) -> TcAttachType {
        match self {
            Self::In => TcAttachType::Ingress,
            Self::Out => TcAttachType::Egress,
        }
    }

    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::In => n::PROG_INGRESS,
            Self::Out => n::PROG_EGRESS,
        }
    }

    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::In => Kind::Ingress,
            Self::Out => Kind::Egress,
        }
    }

    fn failed(self, name: &str, cause: String) -> KernelError {
        let interface = name.to_owned();
        match self {
            Self::In => KernelError::Ingress { interface, cause },
            Self::Out => KernelError::Egress { interface, cause },
        }
    }
}

/// What attaching left in our hands.
pub(super) struct Held {
    pub(super) direction: Direction,
    /// The id of the program.
    program: u32,
    /// The link, unless it is pinned or the filter keeps itself.
    link: Option<SchedClassifierLink>,
    /// Whether it is a filter, which is known by its number alone.
    filter: bool,
    /// Whether the clsact qdisc is of our making, and goes with us.
    pub(super) clsact: bool,
}

impl Held {
    /// Whether it is attached still; true where the kernel does not say.
    pub(super) fn lives(&self, interface: &str) -> bool {
        occupant::tc_ids(interface, self.direction.hook()).is_none_or(|ids| ids.contains(&self.program))
    }

    /// Detaches it, unless it is pinned. Under the number of a filter that was removed may stand somebody else's.
    pub(super) fn let_go(self, ifindex: u32) {
        if let Some(link) = self.link {
            // With its interface it went too; where that cannot be asked, it stays: `sentinel detach` finds it.
            let gone = || {
                let ids = interface::name(ifindex).and_then(|name| occupant::tc_ids(&name, self.direction.hook()));
                ids.is_none_or(|ids| !ids.contains(&self.program))
            };
            if self.filter && gone() {
                std::mem::forget(link);
            }
        }
    }
}

/// Attaches one direction, or swaps our program into what an earlier agent pinned.
///
/// Before Linux 6.6 a pinned filter cannot be swapped: the new one is attached after the old one went.
///
/// # Errors
/// [`KernelError`]; `steps` says what was changed until then.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    pins: Option<&Pins>,
    direction: Direction,
    name: &str,
    ifindex: u32,
    tcx: bool,
    steps: &mut Vec<Step>,
) -> Result<Held, KernelError> {
    let failed = |cause: String| direction.failed(name, cause);
    let program = classifier(ebpf, direction.program())?;
    if program.fd().is_err() {
        insist(|| program.load()).map_err(|error| KernelError::program(direction.program(), error))?;
    }
    let mut held = Held {
        direction,
        program: program
            .info()
            .map_err(|error| KernelError::program(direction.program(), error))?
            .id(),
        link: None,
        filter: !tcx,
        clsact: false,
    };
    let links = pins.filter(|_| tcx);
    let kind = direction.kind();
    let mut former = None;
    let mut unheld = None;
    if let Some(pins) = links {
        if swap(program, pins, kind, name, ifindex, steps, &mut former)? {
            return Ok(held);
        }
    } else if pins.is_some() {
        match Former::of_filter(name, direction) {
            Ok(before) => former = before,
            // Where the kernel gives no program out, an agent has to be able to follow another all the same.
            Err(error) if errno(&error) == Some(libc::EPERM) => unheld = Some(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    let mut made = false;
    let options = if tcx {
        TcAttachOptions::TcxOrder(LinkOrder::default())
    } else {
        made = clsact::add(name).map_err(|error| failed(chain(&error)))?;
        held.clsact = made && pins.is_none();
        // A filter that an agent before this one left behind would count everything twice.
        if !detach_leftover(name, direction)? {
            unheld = None;
        }
        TcAttachOptions::Netlink(NlOptions::default())
    };
    if pins.is_some() {
        steps.push(match unheld {
            Some(why) => Step::Unknown(kind, why),
            None if tcx => Step::Pinned(kind, former),
            None => Step::Filter(direction, former, made),
        });
    }
    let link = attach_new(program, direction, name, options).map_err(|error| match errno(&error) {
        Some(libc::EPERM) => KernelError::permission("attaching to tc"),
        _ => failed(chain(&error)),
    })?;
    match (links, pins) {
        (Some(pins), _) => pins.keep(super::attach::pinnable(link)?, kind, ifindex)?,
        // Kept by the filter itself; only the handle is let go.
        (None, Some(_)) => std::mem::forget(link),
        (None, None) => held.link = Some(link),
    }
    Ok(held)
}

/// Removes our filter of one direction from a clsact hook, if it is there; says so where it cannot.
pub(super) fn remove_filter(name: &str, direction: Direction) {
    if let Err(error) = detach_leftover(name, direction) {
        tracing::warn!(
            interface = name,
            %error,
            "a filter of ours, if it is there, goes on judging packets: `sentinel detach` removes it"
        );
    }
}

fn attach_new(
    program: &mut SchedClassifier,
    direction: Direction,
    name: &str,
    options: TcAttachOptions,
) -> Result<SchedClassifierLink, ProgramError> {
    let id = program.attach_with_options(name, direction.hook(), options)?;
    program.take_link(id)
}

/// Swaps our program into a pinned tcx link; false if there is none, or it is of no use any more. Then its program is
/// `former`, if it had one.
///
/// # Errors
/// [`KernelError`]; what is pinned then judges on.
fn swap(
    program: &mut SchedClassifier,
    pins: &Pins,
    kind: Kind,
    name: &str,
    ifindex: u32,
    steps: &mut Vec<Step>,
    former: &mut Option<Former>,
) -> Result<bool, KernelError> {
    let Some(link) = pins.find(kind, ifindex)? else {
        return Ok(false);
    };
    let before = Former::of_link(&link, kind, name);
    let swap = Swap::judge(kind, name, put_into(program, link), before)?;
    Ok(swap.settle(pins, (kind, ifindex), steps, former))
}

fn put_into(program: &mut SchedClassifier, link: FdLink) -> Result<(), Refusal> {
    let link = SchedClassifierLink::try_from(link).map_err(|error| Refusal::new(&error))?;
    let swapped = program.attach_to_link(link).and_then(|id| program.take_link(id));
    swapped.map(drop).map_err(|error| Refusal::new(&error))
}

/// Removes what a killed agent may have left: our filters on clsact hooks. Links are gone with their process.
/// Returns the interfaces that were cleaned.
///
/// # Errors
/// [`KernelError::System`] when a filter is there and cannot be removed, or the interfaces cannot be listed.
pub fn detach_leftovers() -> Result<Vec<String>, KernelError> {
    let mut cleaned = Vec::new();
    for name in interface::all()?.into_values() {
        let mut found = false;
        for direction in [Direction::In, Direction::Out] {
            found |= detach_leftover(&name, direction)?;
        }
        if found {
            let _ = clsact::remove(&name);
            cleaned.push(name);
        }
    }
    Ok(cleaned)
}

fn detach_leftover(name: &str, direction: Direction) -> Result<bool, KernelError> {
    match qdisc_detach_program(name, direction.hook(), direction.program()) {
        Ok(()) => Ok(true),
        Err(TcError::IoError(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => match errno(&error) {
            // No clsact there, which is the usual case, or the interface went away meanwhile.
            Some(libc::EINVAL | libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP) => Ok(false),
            Some(libc::EPERM) => Err(KernelError::permission("detaching from tc")),
            code => Err(KernelError::System {
                call: format!("detaching from {name}: {}", chain(&error)),
                source: std::io::Error::from_raw_os_error(code.unwrap_or(libc::EIO)),
            }),
        },
    }
}
