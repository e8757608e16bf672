//! Who else's programs hang from an interface, and whose they are.

use super::netlink::exchange;
use super::{interface, probe};
use crate::netlink::{attributes, request, word};
use aya::programs::tc::TcAttachType;
use aya::programs::{SchedClassifier, loaded_programs};
use std::time::SystemTime;
use std::{fmt, io};

/// Processes looked at for descriptors of a program.
const PROCESSES: usize = 65_536;
/// Programs the kernel lets attach to one side of an interface by tcx (`BPF_MPROG_MAX`, linux/bpf_mprog.h).
const TCX_PROGRAMS: usize = 64;

/// A program on a hook of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// `native XDP`, `generic XDP`, `offloaded XDP`, `tcx ingress`, `tc ingress`.
    pub hook: &'static str,
    /// Its id; 0 where the kernel names none (a filter that is no BPF program).
    pub id: u32,
    /// The name it was loaded under, at most 15 characters; or the kind of a filter.
    pub name: String,
    /// The user who loaded it.
    pub uid: Option<u32>,
    /// When it was loaded, seconds since 1970.
    pub loaded_at: Option<u64>,
    /// Processes that hold a descriptor of it or of a link to it: id and command.
    pub holders: Vec<(u32, String)>,
    /// Whether all of that could be looked at: who is not root sees neither others' programs nor their processes.
    pub seen: bool,
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match (self.name.as_str(), self.seen) {
            ("", true) => "a nameless program",
            ("", false) => "a program whose name cannot be seen from here",
            (name, _) => name,
        };
        write!(f, "{name} ({}", self.hook)?;
        if self.id > 0 {
            write!(f, ", program {}", self.id)?;
        }
        if let Some(uid) = self.uid {
            write!(f, ", loaded by user {uid}")?;
        }
        match self.holders.as_slice() {
            [] if self.seen => write!(f, ", held by no process"),
            [] => write!(f, ", held by whom cannot be seen from here"),
            [(pid, command), ..] => write!(f, ", held by {command} (process {pid})"),
        }?;
        f.write_str(")")
    }
}

impl Occupant {
    /// Whether the name is one of our programs': another agent's, or what one left pinned.
    pub fn is_sentinel(&self) -> bool {
        self.name.starts_with("sentinel_")
    }

    fn of(hook: &'static str, id: u32) -> Self {
        let mut seen = true;
        let info = loaded_programs()
            .filter_map(|info| info.inspect_err(|_| seen = false).ok())
            .find(|info| info.id() == id);
        let (holders, looked) = holders(id);
        let since_1970 = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).ok().map(|d| d.as_secs());
        Self {
            hook,
            id,
            name: info
                .as_ref()
                .map(|info| String::from_utf8_lossy(info.name()).into_owned())
                .unwrap_or_default(),
            uid: info.as_ref().and_then(aya::programs::ProgramInfo::created_by_uid),
            loaded_at: info
                .as_ref()
                .and_then(aya::programs::ProgramInfo::loaded_at)
                .and_then(since_1970),
            holders,
            seen: looked && (seen || info.is_some()),
        }
    }
}

/// The XDP programs of an interface; empty also where it cannot be asked.
pub fn on_xdp(interface: &str) -> Vec<Occupant> {
    xdp_ids(interface)
        .unwrap_or_default()
        .into_iter()
        .map(|(hook, id)| Occupant::of(hook, id))
        .collect()
}

/// The programs and filters on an interface's tc ingress hook; empty also where it cannot be asked.
pub fn on_tc(interface: &str) -> Vec<Occupant> {
    let tcx = SchedClassifier::query_tcx(interface, TcAttachType::Ingress);
    let tcx = tcx.map(|(_, programs)| programs).unwrap_or_default();
    let mut all: Vec<Occupant> = tcx
        .iter()
        .map(|program| Occupant::of("tcx ingress", program.id()))
        .collect();
    all.extend(filters(interface));
    all
}

/// `struct ifinfomsg`, `struct tcmsg`: what stands before the attributes.
const IFINFO: usize = 16;
const TCMSG: usize = 20;
/// `IFLA_XDP`, and in it `IFLA_XDP_DRV_PROG_ID` and its neighbours (`linux/if_link.h`).
const IFLA_XDP: u16 = 43;
const XDP_IDS: [(u16, &str); 3] = [(5, "native XDP"), (6, "generic XDP"), (7, "offloaded XDP")];
/// `IFLA_EXT_MASK` with `RTEXT_FILTER_SKIP_STATS`: no counters in the answer.
const IFLA_EXT_MASK: u16 = 29;
const SKIP_STATS: u32 = 8;
/// `TCA_KIND`, `TCA_OPTIONS`, and in it `TCA_BPF_NAME` and `TCA_BPF_ID` (`linux/pkt_cls.h`).
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;
/// `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)`.
const INGRESS: u32 = 0xffff_fff2;
/// `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)`.
const EGRESS: u32 = 0xffff_fff3;

/// Mode and id of each XDP program on an interface; `None` where the kernel does not say.
pub(super) fn xdp_ids(interface: &str) -> Option<Vec<(&'static str, u32)>> {
    let ifindex = interface::index(interface).ok()?;
    let mut body = vec![0u8; IFINFO];
    body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    body.extend(8u16.to_ne_bytes());
    body.extend(IFLA_EXT_MASK.to_ne_bytes());
    body.extend(SKIP_STATS.to_ne_bytes());
    let answer = exchange(&request(libc::RTM_GETLINK, 0, &body), false).ok()?;
    let mut told = None;
    for (_, message) in &answer {
        for (_, xdp) in attributes(message, IFINFO).iter().filter(|(kind, _)| *kind == IFLA_XDP) {
            let ids: &mut Vec<_> = told.get_or_insert_default();
            for (kind, value) in attributes(xdp, 0) {
                let hook = XDP_IDS.iter().find(|(id, _)| *id == kind);
                ids.extend(hook.map(|(_, hook)| (*hook, word(value, 0))));
            }
        }
    }
    told
}

/// The ids of the programs on one side of an interface's tc hooks; `None` where the kernel does not say.
pub(super) fn tc_ids(interface: &str, side: TcAttachType) -> Option<Vec<u32>> {
    let mut ids = Vec::new();
    if probe::tcx() {
        ids.extend(tcx_ids(interface::index(interface).ok()?, side).ok()?);
    }
    let parent = match side {
        TcAttachType::Ingress => INGRESS,
        _ => EGRESS,
    };
    for (_, message) in dump(interface, parent)? {
        let outer = attributes(&message, TCMSG);
        if !outer.contains(&(TCA_KIND, b"bpf\0")) {
            continue;
        }
        let options = outer.iter().find(|(kind, _)| *kind == TCA_OPTIONS);
        for (kind, value) in options.map(|(_, options)| attributes(options, 0)).unwrap_or_default() {
            if kind == TCA_BPF_ID {
                ids.push(word(value, 0));
            }
        }
    }
    Some(ids)
}

/// `struct { } query` of `union bpf_attr` (linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    attach_type: u32,
    flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    pad: u32,
    program_attach_flags: u64,
    links: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// The ids of the programs attached by tcx, asked for by themselves: to see more of them (as aya does) takes
/// `CAP_SYS_ADMIN`, which the agent does without.
///
/// # Errors
/// The kernel's.
fn tcx_ids(ifindex: u32, side: TcAttachType) -> io::Result<Vec<u32>> {
    /// `BPF_PROG_QUERY`, `BPF_TCX_INGRESS`, `BPF_TCX_EGRESS`.
    const PROG_QUERY: libc::c_long = 16;
    const TCX: [u32; 2] = [46, 47];
    let mut ids = vec![0u32; TCX_PROGRAMS];
    let mut query = Query {
        target: ifindex,
        attach_type: TCX[usize::from(!matches!(side, TcAttachType::Ingress))],
        programs: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        ..Query::default()
    };
    // SAFETY: the attribute is the kernel's layout, and it writes as many ids as it is told there is room for.
    let code = unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut query, size_of::<Query>()) };
    if code < 0 {
        return Err(io::Error::last_os_error());
    }
    ids.truncate(query.count as usize);
    Ok(ids)
}

/// The filters on one side of a clsact qdisc, as the kernel tells them.
fn dump(interface: &str, parent: u32) -> Option<Vec<super::netlink::Message>> {
    let ifindex = interface::index(interface).ok()?;
    let mut body = vec![0u8; TCMSG];
    body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    body[12..16].copy_from_slice(&parent.to_ne_bytes());
    exchange(&request(libc::RTM_GETTFILTER, libc::NLM_F_DUMP, &body), true).ok()
}

/// Filters on the ingress side of a clsact qdisc.
fn filters(interface: &str) -> Vec<Occupant> {
    let mut found: Vec<Occupant> = Vec::new();
    for (_, message) in dump(interface, INGRESS).unwrap_or_default() {
        let outer = attributes(&message, TCMSG);
        let text = |value: &[u8]| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
        let options = outer.iter().find(|(kind, _)| *kind == TCA_OPTIONS);
        let Some((_, options)) = options.filter(|(_, options)| !options.is_empty()) else {
            // The head of a chain, not a filter of it.
            continue;
        };
        let options = attributes(options, 0);
        let of = |wanted: u16| {
            options
                .iter()
                .find(|(kind, _)| *kind == wanted)
                .map(|(_, value)| *value)
        };
        let filter_kind = outer
            .iter()
            .find(|(kind, _)| *kind == TCA_KIND)
            .map(|(_, value)| text(value));
        let mut occupant = match of(TCA_BPF_ID).filter(|_| filter_kind.as_deref() == Some("bpf")) {
            Some(id) => Occupant::of("tc ingress", word(id, 0)),
            None => Occupant {
                hook: "tc ingress",
                id: 0,
                name: format!("a {} filter", filter_kind.unwrap_or_default()),
                uid: None,
                loaded_at: None,
                holders: Vec::new(),
                seen: true,
            },
        };
        if let Some(name) = of(TCA_BPF_NAME).filter(|_| occupant.name.is_empty()) {
            occupant.name = text(name);
        }
        found.push(occupant);
    }
    found
}

/// Processes with a descriptor of a program or of a link to it, of those we may look into; and whether that is all.
fn holders(id: u32) -> (Vec<(u32, String)>, bool) {
    let wanted = format!("prog_id:\t{id}");
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return (Vec::new(), false);
    };
    let mut all = true;
    let pids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let found = pids
        .take(PROCESSES)
        .filter(|pid| {
            let descriptors = std::fs::read_dir(format!("/proc/{pid}/fdinfo"));
            all &= !matches!(&descriptors, Err(error) if error.kind() == io::ErrorKind::PermissionDenied);
            descriptors.is_ok_and(|mut all| {
                all.any(|file| {
                    let text = file.and_then(|file| std::fs::read_to_string(file.path()));
                    text.is_ok_and(|text| text.lines().any(|line| line == wanted))
                })
            })
        })
        .map(|pid| {
            let command = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            (pid, command.trim().to_owned())
        })
        .collect();
    (found, all)
}
