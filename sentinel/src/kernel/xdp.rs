//! Attaching to XDP: native, native for multi-buffer frames, generic, the first that works; or swapping our program
//! into a link an earlier agent pinned.

use super::error::{KernelError, chain, errno, insist};
use super::load::xdp;
use super::pin::{Kind, Pins};
use super::undo::{Former, Refusal, Step, Swap};
use super::{interface, occupant, probe};
use aya::Ebpf;
use aya::programs::XdpMode;
use aya::programs::links::FdLink;
use aya::programs::xdp::XdpLink;
use sentinel_common::names as n;

/// Swaps our program into a pinned XDP link; false if there is none, or it is of no use any more. Then its program is
/// `former`, if it had one.
///
/// # Errors
/// [`KernelError`]; what is pinned then judges on.
pub(super) fn swap(
    ebpf: &mut Ebpf,
    pins: &Pins,
    kind: Kind,
    interface: &str,
    ifindex: u32,
    steps: &mut Vec<Step>,
    former: &mut Option<Former>,
) -> Result<bool, KernelError> {
    let Some(link) = pins.find(kind, ifindex)? else {
        return Ok(false);
    };
    let before = Former::of_link(&link, kind, interface);
    let mut swapped = put_into(ebpf, n::PROG_XDP, link)?;
    if swapped.as_ref().is_err_and(|refusal| !refusal.is_dead())
        && let Some(link) = pins.find(kind, ifindex)?
        && put_into(ebpf, n::PROG_XDP_FRAGS, link)?.is_ok()
    {
        swapped = Ok(());
    }
    let swap = Swap::judge(kind, interface, swapped, before)?;
    Ok(swap.settle(pins, (kind, ifindex), steps, former))
}

/// Swaps one of our programs into a link; the inner error is why not.
fn put_into(ebpf: &mut Ebpf, name: &str, link: FdLink) -> Result<Result<(), Refusal>, KernelError> {
    let program = xdp(ebpf, name)?;
    if program.fd().is_err()
        && let Err(error) = insist(|| program.load())
    {
        return Ok(Err(Refusal::new(&error)));
    }
    let link = match XdpLink::try_from(link) {
        Ok(link) => link,
        Err(error) => return Ok(Err(Refusal::new(&error))),
    };
    let swapped = program.attach_to_link(link).and_then(|id| program.take_link(id));
    Ok(swapped.map(drop).map_err(|error| Refusal::new(&error)))
}

/// Native, native for multi-buffer frames, generic: the first that works.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    name: &str,
    force_generic: bool,
) -> Result<(XdpLink, &'static str, Option<String>), KernelError> {
    let mut attempts = Vec::new();
    if force_generic {
        attempts.push("wanted: `kernel.force_generic: true`".to_owned());
    } else {
        let frags = probe::multi_buffer().then_some(n::PROG_XDP_FRAGS);
        for program in std::iter::once(n::PROG_XDP).chain(frags) {
            match attempt(ebpf, name, program, XdpMode::Driver)? {
                Ok(link) => return Ok((link, "native", None)),
                Err(cause) => {
                    attempts.push(format!("native: {cause}"));
                    if cause.code == Some(libc::EOPNOTSUPP) {
                        break;
                    }
                }
            }
        }
    }
    match attempt(ebpf, name, n::PROG_XDP, XdpMode::Skb)? {
        Ok(link) => Ok((link, "generic", Some(attempts.join("; ")))),
        Err(cause) => {
            attempts.push(format!("generic: {cause}"));
            Err(KernelError::Xdp {
                interface: name.to_owned(),
                attempts: attempts.join("; "),
            })
        }
    }
}

/// Why one mode did not work.
struct Cause {
    code: Option<i32>,
    text: String,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mend = match self.code {
            Some(libc::EOPNOTSUPP) => " (the driver has no native XDP)",
            Some(libc::ERANGE | libc::EINVAL) => {
                " (often the MTU, or LRO: `ip link set dev … mtu 1500`, `ethtool -K … lro off`)"
            }
            _ => "",
        };
        write!(f, "{}{mend}", self.text)
    }
}

/// One mode. The outer error is one that no other mode would mend.
fn attempt(ebpf: &mut Ebpf, name: &str, program: &str, mode: XdpMode) -> Result<Result<XdpLink, Cause>, KernelError> {
    let xdp = xdp(ebpf, program)?;
    if xdp.fd().is_err()
        && let Err(error) = insist(|| xdp.load())
    {
        let text = format!("{program}: {}", KernelError::program(program, error));
        return Ok(Err(Cause { code: None, text }));
    }
    let error = match xdp.attach(name, mode).and_then(|id| xdp.take_link(id)) {
        Ok(link) => return Ok(Ok(link)),
        Err(error) => error,
    };
    let code = errno(&error);
    match code {
        Some(libc::EPERM) => Err(KernelError::permission("attaching XDP")),
        Some(libc::ENODEV) => Err(interface::index(name).err().unwrap_or_else(|| KernelError::Xdp {
            interface: name.to_owned(),
            attempts: chain(&error),
        })),
        Some(libc::EBUSY | libc::EEXIST) => Err(foreign(name, chain(&error))),
        _ => Ok(Err(Cause {
            code,
            text: chain(&error),
        })),
    }
}

/// Says whose program sits on the hook, and how to be rid of it.
fn foreign(name: &str, cause: String) -> KernelError {
    let occupants = occupant::on_xdp(name);
    let ours = occupants.iter().any(occupant::Occupant::is_sentinel);
    let whose: Vec<String> = occupants.iter().map(ToString::to_string).collect();
    let mend = if ours {
        "it is another agent's, or was left pinned: `sentinel detach` with that agent's settings removes it".to_owned()
    } else {
        format!(
            "`ip link set dev {name} xdp off` removes it where it was not attached by a link, else end who holds it"
        )
    };
    KernelError::ForeignXdp {
        interface: name.to_owned(),
        whose: if whose.is_empty() {
            "the kernel does not say whose".to_owned()
        } else {
            whose.join(" and ")
        },
        mend,
        cause,
    }
}
