//! What can go wrong between the agent and the kernel, each with its mend.

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use std::io;

/// Why the kernel side does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The agent was built without the kernel object.
    #[error("this binary carries no kernel programs; run `cargo xtask build-ebpf` and build again")]
    NoObject,
    /// A capability is missing.
    #[error(
        "loading kernel programs needs {missing}; run as root, or `setcap cap_bpf,cap_net_admin,cap_perfmon+ep` on the binary; in a container `cap_add: [BPF, NET_ADMIN, PERFMON]`, or SYS_ADMIN and NET_ADMIN where the engine does not know BPF"
    )]
    Capability {
        /// The capabilities that are missing.
        missing: String,
    },
    /// The kernel refused although the capabilities are there.
    #[error("the kernel refused `{call}` although the capabilities are there; {why}")]
    Refused {
        /// What was refused.
        call: String,
        /// Who does that, and the mend.
        why: String,
    },
    /// The interface does not exist.
    #[error("there is no interface `{name}`; there are: {existing}. Set `kernel.interfaces`{hint}")]
    NoInterface {
        /// The one asked for.
        name: String,
        /// Those that exist.
        existing: String,
        /// The mend of a container, [`OWN_INTERFACES`].
        hint: &'static str,
    },
    /// No interface was named.
    #[error("there is no interface to watch: set `kernel.interfaces` (there are: {existing}){hint}")]
    NothingToWatch {
        /// Those that exist.
        existing: String,
        /// The mend of a container, [`OWN_INTERFACES`].
        hint: &'static str,
    },
    /// The interface carries no Ethernet frames.
    #[error(
        "{interface} carries no Ethernet frames (hardware type {kind}), which is all that can be read; watch the interface below it"
    )]
    NotEthernet {
        /// The interface.
        interface: String,
        /// `ARPHRD_*` of `linux/if_arp.h`.
        kind: u16,
    },
    /// Two interfaces share an element of the slot table, or there are too many.
    #[error("{interface} cannot be watched beside {other}: their indexes agree modulo {table}; re-create one of them")]
    SlotTaken {
        /// The one refused.
        interface: String,
        /// The one that is there.
        other: String,
        /// Elements of the table.
        table: u32,
    },
    /// More interfaces than the programs have counters for.
    #[error("{wanted} interfaces are more than the {max} that can be watched; shorten `kernel.interfaces`")]
    TooManyInterfaces {
        /// How many were asked for.
        wanted: usize,
        /// How many there can be.
        max: u32,
    },
    /// Another XDP program sits on the interface.
    #[error(
        "another XDP program is attached to {interface}: {whose}; {mend}, or set `kernel.hook: auto` to judge its packets on tc instead ({cause})"
    )]
    ForeignXdp {
        /// The interface.
        interface: String,
        /// Which, and who loaded and holds it.
        whose: String,
        /// How to be rid of it.
        mend: String,
        /// The kernel's words.
        cause: String,
    },
    /// Pinned programs of an earlier run are attached, and this run was not asked to pin.
    #[error(
        "programs of an earlier run are pinned under {path} and attached to {interface}; `kernel.pin: true` takes them over, `sentinel detach` removes them"
    )]
    Pinned {
        /// The interface.
        interface: String,
        /// Where they are pinned.
        path: String,
    },
    /// Pinning was asked for where it cannot be.
    #[error(
        "`kernel.pin` needs a bpffs, and {path} is none; `mount -t bpf bpf /sys/fs/bpf` makes one; a container is lent the host's: `volumes: [\"/sys/fs/bpf:/sys/fs/bpf\"]`"
    )]
    NoBpffs {
        /// Where it should be.
        path: String,
    },
    /// What is pinned was made by an agent that spells entries differently.
    #[error(
        "the maps pinned under {path} were made by {theirs}, and this is {ours}{map}; they cannot be read as ours. `sentinel detach --maps` forgets them and keeps the old programs in force until the next `sentinel run` has put every decision into maps of its own (counters begin anew); `sentinel detach` gives up programs and blocks at once; or go on with the old binary"
    )]
    PinnedLayout {
        /// Where they are.
        path: String,
        /// Version, layout and policy of who made them.
        theirs: String,
        /// Of this agent.
        ours: String,
        /// The map that differs, where it is one.
        map: String,
    },
    /// Something that is not ours stands where pins go.
    #[error("{path} is not ours: {what}; move it away, or set `kernel.pin_path` to a directory of the agent's own")]
    ForeignPins {
        /// The file or directory.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// Entries in force do not fit into the capacity that is asked for.
    #[error(
        "map {map} was made for {old} entries and holds more than the {wanted} that are asked for; raise the capacity again (`kernel.block_capacity`, `kernel.block_net_capacity`, `kernel.list_capacity`, `kernel.list6_capacity`), or take entries back first"
    )]
    Shrunk {
        /// The map.
        map: String,
        /// Its capacity.
        old: u32,
        /// The one asked for.
        wanted: u32,
    },
    /// The kernel knows nothing of a helper or program type that the programs need.
    #[error(
        "this kernel is too old for `{program}`: it lacks {what}; boot one from Linux 5.10 on (`sentinel doctor` tells what this one offers), or set `kernel.hook: nftables`, which carries out decisions and sees no packets"
    )]
    TooOld {
        /// The program.
        program: String,
        /// The verifier's words.
        what: String,
    },
    /// The kernel has no bpf(2).
    #[error(
        "this kernel has no bpf(2), or a container's seccomp profile says so; boot one with CONFIG_BPF_SYSCALL (every distribution's has it), allow bpf(2) in the profile (`security_opt: [\"seccomp=FILE\"]`), or set `kernel.hook: nftables`, which carries out decisions and sees no packets"
    )]
    NoBpf,
    /// No XDP mode worked.
    #[error(
        "XDP cannot be attached to {interface} in any mode: {attempts}; `kernel.hook: auto` judges its packets on tc instead"
    )]
    Xdp {
        /// The interface.
        interface: String,
        /// What each mode said, with the mend where one is known.
        attempts: String,
    },
    /// The ingress program could not be attached to tc.
    #[error("the ingress program cannot be attached to tc on {interface}: {cause}")]
    Ingress {
        /// The interface.
        interface: String,
        /// The kernel's words.
        cause: String,
    },
    /// The egress program could not be attached.
    #[error("the egress program cannot be attached to {interface}: {cause}; `kernel.egress: false` goes without")]
    Egress {
        /// The interface.
        interface: String,
        /// The kernel's words.
        cause: String,
    },
    /// Maps do not fit into memory.
    #[error(
        "the kernel has no memory for map {map}; lower `kernel.*_capacity` or `kernel.ring_bytes`, or raise the memory limit of this cgroup (before Linux 5.11: `ulimit -l unlimited`)"
    )]
    Memory {
        /// The map, or `a program`.
        map: String,
    },
    /// A capacity the kernel cannot make a map of.
    #[error("`kernel.{key}` is {value}: {rule}")]
    Capacity {
        /// The key.
        key: &'static str,
        /// Its value.
        value: u32,
        /// What it must be.
        rule: &'static str,
    },
    /// The verifier refused a program.
    #[error("this kernel's verifier refused `{program}` ({cause}); please report it with this:\n{log}")]
    Verifier {
        /// The program.
        program: String,
        /// The kernel's words.
        cause: String,
        /// The last lines of its log.
        log: String,
    },
    /// A map could not be read or written.
    #[error("map {map}: {cause}")]
    Map {
        /// The map.
        map: String,
        /// The kernel's words.
        cause: String,
    },
    /// The object and the agent do not belong together.
    #[error(
        "the embedded kernel object does not fit this agent ({what}); run `cargo xtask build-ebpf` and build again"
    )]
    Object {
        /// What is missing or does not fit.
        what: String,
    },
    /// Sources cannot be redirected to this honeypot.
    #[error("nothing can be redirected to the honeypot: {cause}")]
    Honeypot {
        /// Why, and the mend where one is known.
        cause: String,
    },
    /// Anything else.
    #[error("{call}: {source}")]
    System {
        /// What was tried.
        call: String,
        /// The kernel's words.
        #[source]
        source: io::Error,
    },
}

/// Lines of the verifier's log that are shown: the reason stands at the end.
const LOG_LINES: usize = 30;

/// The errno behind an error, wherever in the chain it stands.
pub(super) fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && let Some(code) = io.raw_os_error()
        {
            return Some(code);
        }
        next = error.source();
    }
    None
}

/// Loads a program; again where a signal broke off the verifier's walk, as libbpf does.
pub(super) fn insist(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    const TRIES: u32 = 5;
    for _ in 1..TRIES {
        match load() {
            Err(error) if errno(&error) == Some(libc::EAGAIN) => {}
            outcome => return outcome,
        }
    }
    load()
}

/// An error and what is behind it, in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source();
    }
    text
}

/// What a verifier's log says that the kernel does not know at all.
fn unknown_to_kernel(log: &str) -> Option<String> {
    const SIGNS: [&str; 3] = ["unknown func", "invalid func", "unknown opcode"];
    let line = log.lines().find(|line| SIGNS.iter().any(|sign| line.contains(sign)))?;
    Some(format!("what the verifier calls \"{}\"", line.trim()))
}

impl KernelError {
    /// From the loading of the object, which creates the maps.
    pub(super) fn load(error: EbpfError) -> Self {
        match error {
            EbpfError::MapError(error) => Self::map("?", &error),
            EbpfError::ProgramError(error) => Self::program("?", error),
            other => match errno(&other) {
                Some(libc::EPERM) => Self::permission("bpf(2)"),
                Some(libc::ENOSYS) => Self::NoBpf,
                _ => Self::Object { what: chain(&other) },
            },
        }
    }

    /// From the loading of one program.
    pub(super) fn program(name: &str, error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError { io_error, verifier_log } => match io_error.raw_os_error() {
                Some(libc::EPERM) => Self::permission("BPF_PROG_LOAD"),
                // Without CAP_PERFMON the verifier refuses what it takes with it.
                Some(libc::EACCES) if !super::probe::missing_capabilities().is_empty() => {
                    Self::permission("BPF_PROG_LOAD")
                }
                Some(libc::ENOMEM) => Self::Memory {
                    map: "a program".into(),
                },
                Some(libc::ENOSYS) => Self::NoBpf,
                _ => {
                    let log = verifier_log.to_string();
                    if let Some(what) = unknown_to_kernel(&log) {
                        return Self::TooOld {
                            program: name.to_owned(),
                            what,
                        };
                    }
                    let lines: Vec<_> = log.lines().collect();
                    let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
                    Self::Verifier {
                        program: name.to_owned(),
                        cause: io_error.to_string(),
                        log: tail.join("\n"),
                    }
                }
            },
            other => match errno(&other) {
                Some(libc::EPERM) => Self::permission(name),
                Some(code) => Self::System {
                    call: format!("{name}: {}", chain(&other)),
                    source: io::Error::from_raw_os_error(code),
                },
                None => Self::Object {
                    what: format!("{name}: {}", chain(&other)),
                },
            },
        }
    }

    /// From a map.
    pub(super) fn map(name: &str, error: &MapError) -> Self {
        let name = match error {
            MapError::CreateError { name, .. } => name.as_str(),
            _ => name,
        };
        match errno(error) {
            Some(libc::EPERM) => Self::permission(&format!("map {name}")),
            Some(libc::ENOMEM) => Self::Memory { map: name.to_owned() },
            Some(libc::ENOSYS) => Self::NoBpf,
            Some(libc::E2BIG) if matches!(error, MapError::CreateError { .. }) => Self::Memory { map: name.to_owned() },
            _ => Self::Map {
                map: name.to_owned(),
                cause: chain(error),
            },
        }
    }

    /// EPERM: says which capability is missing.
    pub(super) fn permission(call: &str) -> Self {
        match super::probe::missing_capabilities() {
            missing if missing.is_empty() => Self::Refused {
                call: call.to_owned(),
                why: super::probe::refuses_bpf().to_owned(),
            },
            missing => Self::Capability {
                missing: missing.join(" and "),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(code: i32) -> KernelError {
        let error = MapError::CreateError {
            name: "BLOCK4".into(),
            io_error: io::Error::from_raw_os_error(code),
        };
        KernelError::map("?", &error)
    }

    #[test]
    fn what_kernels_answer_is_told_with_the_mend() {
        for (error, mends) in [
            (create(libc::ENOMEM), ["BLOCK4", "kernel.*_capacity", "memory limit"]),
            (create(libc::E2BIG), ["BLOCK4", "kernel.*_capacity", "memory limit"]),
            (create(libc::ENOSYS), ["CONFIG_BPF_SYSCALL", "boot", "bpf(2)"]),
        ] {
            let text = error.to_string();
            assert!(mends.iter().all(|mend| text.contains(mend)), "{text}");
        }
        let log = "0: R1=ctx\n5: (85) call unknown#189\ninvalid func unknown#189\nprocessed 6 insns";
        let old = unknown_to_kernel(log).expect("said");
        assert!(old.contains("invalid func unknown#189"), "{old}");
        assert_eq!(unknown_to_kernel("R1 invalid mem access 'inv'"), None);
        let text = KernelError::TooOld {
            program: "sentinel_xdp".into(),
            what: old,
        }
        .to_string();
        assert!(text.contains("5.10") && text.contains("sentinel doctor"), "{text}");
    }
}
