//! The interfaces the configuration names: what they can do, who else is there, which hook it will be; and what an
//! earlier agent left pinned.

use super::Finding;
use crate::config::{Config, Hook};
use crate::kernel::{Leftovers, Occupant, in_bpffs, leftovers, on_tc, on_xdp, probe};
use std::fs::read_to_string;
use std::path::Path;

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut names = config.kernel.interfaces.clone();
    if names.is_empty() {
        names.extend(default_interface());
    }
    if names.is_empty() {
        return vec![Finding::fail(
            "interface",
            "there is no default route, so `auto` finds none",
            format!(
                "name the interfaces: kernel.interfaces: [eth0]{}",
                probe::own_interfaces()
            ),
        )];
    }
    let exists = |name: &String| Path::new("/sys/class/net").join(name).exists();
    let some = names.iter().any(exists);
    let mut out = Vec::new();
    for name in &names {
        out.push(interface(name, some));
        if exists(name) {
            out.push(hook(name, config.kernel.hook, &on_xdp(name)));
            out.extend(beside(name, &on_tc(name)));
        }
    }
    let place = &config.kernel.pin_path;
    if config.kernel.pin && !in_bpffs(place) {
        out.push(Finding::fail(
            "pins",
            format!("`kernel.pin` is true, and {} does not lie in a bpffs", place.display()),
            "mount -t bpf bpf /sys/fs/bpf; a container is lent the host's: `volumes: [\"/sys/fs/bpf:/sys/fs/bpf\"]`",
        ));
    } else {
        out.extend(leftovers(place).map_or_else(
            |error| vec![Finding::warn("pins", error.to_string(), "run this as root")],
            |found| pins(config, &found),
        ));
    }
    out
}

/// Which hook it will be, and why.
fn hook(name: &str, wanted: Hook, on_xdp: &[Occupant]) -> Finding {
    const LESS: &str = "it costs more per packet there, and redirection to the honeypot becomes a drop";
    let check = format!("hook {name}");
    let said = |occupants: &[&Occupant]| {
        let all: Vec<String> = occupants.iter().map(ToString::to_string).collect();
        all.join(" and ")
    };
    let (ours, foreign): (Vec<_>, Vec<_>) = on_xdp.iter().partition(|one| one.is_sentinel());
    if wanted == Hook::Tc {
        return Finding::pass(check, format!("tc ingress, as `kernel.hook` has it; {LESS}"));
    }
    if let Some(one) = foreign.iter().find(|one| one.name.is_empty() && !one.seen) {
        return Finding::warn(
            check,
            format!("whether it is ours cannot be seen: {one}"),
            "run this as root, who sees whose it is",
        );
    }
    if !foreign.is_empty() {
        let whose = format!("another XDP program is there: {}", said(&foreign));
        return if wanted == Hook::Auto {
            Finding::warn(
                check,
                format!("tc ingress, for {whose}"),
                format!("free the XDP hook, or leave it so: {LESS}"),
            )
        } else {
            Finding::fail(
                check,
                whose,
                "end who holds it, or set `kernel.hook: auto` to judge packets on tc beside it",
            )
        };
    }
    if ours.is_empty() {
        Finding::pass(check, "XDP; nobody else is there")
    } else {
        Finding::pass(check, format!("XDP; ours is there: {}", said(&ours)))
    }
}

/// Other people's programs on tc, which go on beside ours.
fn beside(name: &str, on_tc: &[Occupant]) -> Option<Finding> {
    let foreign: Vec<String> = on_tc
        .iter()
        .filter(|one| !one.is_sentinel())
        .map(ToString::to_string)
        .collect();
    (!foreign.is_empty()).then(|| {
        Finding::pass(
            format!("tc {name}"),
            format!(
                "{}; they see what passes the gate, and stay untouched",
                foreign.join(" and ")
            ),
        )
    })
}

/// What an earlier agent left pinned, and what becomes of it.
fn pins(config: &Config, found: &Leftovers) -> Vec<Finding> {
    let path = config.kernel.pin_path.display();
    let mut out = Vec::new();
    let made_by = found.made_by.as_ref().map_or_else(
        || "nobody knows".to_owned(),
        |(agent, layout, policy)| format!("sentinel {agent} (layout {layout:016x}, policy {policy})"),
    );
    let what = format!(
        "{} maps of {made_by} and attachments to {} interfaces under {path}",
        found.maps.len(),
        found.interfaces.len()
    );
    if found.maps.is_empty() && found.interfaces.is_empty() {
        if config.kernel.pin {
            out.push(Finding::pass("pins", format!("none under {path} yet")));
        }
    } else if !found.fits {
        out.push(Finding::fail(
            "pins",
            format!("{what}, which this release cannot read"),
            "`sentinel detach --maps` and start: blocks stay in force meanwhile; `sentinel detach` gives them up; or go on with the old binary",
        ));
    } else if config.kernel.pin {
        out.push(Finding::pass("pins", format!("{what}; `sentinel run` takes them over")));
    } else if !found.interfaces.is_empty() {
        out.push(Finding::fail(
            "pins",
            format!("{what}, and `kernel.pin` is false"),
            "`kernel.pin: true` takes them over, `sentinel detach` removes them",
        ));
    } else {
        out.push(Finding::warn("pins", what, "`sentinel detach` removes them"));
    }
    if !found.foreign.is_empty() {
        let names: Vec<String> = found.foreign.iter().map(|path| path.display().to_string()).collect();
        out.push(Finding::warn(
            "pins",
            format!("not ours, and left alone: {}", names.join(", ")),
            "move them away, or set `kernel.pin_path` to a directory of the agent's own",
        ));
    }
    out
}

/// What an interface can do. One that is missing stops the agent only where none of them is there (`some` false).
fn interface(name: &str, some: bool) -> Finding {
    let check = format!("interface {name}");
    let dir = Path::new("/sys/class/net").join(name);
    if !dir.exists() {
        let known: Vec<_> = std::fs::read_dir("/sys/class/net")
            .map(|entries| {
                entries
                    .flatten()
                    .map(|e| e.file_name().to_string_lossy().into_owned())
                    .collect()
            })
            .unwrap_or_default();
        let mend = format!(
            "name one of {} in kernel.interfaces{}",
            known.join(", "),
            probe::own_interfaces()
        );
        return if some {
            Finding::warn(check, "does not exist; it is attached to when it comes", mend)
        } else {
            Finding::fail(check, "does not exist", mend)
        };
    }
    let xdp = probe::xdp_support(name);
    let mtu = xdp.mtu.map_or("?".to_owned(), |mtu| mtu.to_string());
    let large = if xdp.large_mtu { ", multi-buffer frames" } else { "" };
    let head = format!(
        "driver {}, MTU {mtu}{large}",
        xdp.driver.as_deref().unwrap_or("unknown")
    );
    match xdp.native {
        Some(true) if xdp.large_mtu && !probe::multi_buffer() => Finding::warn(
            check,
            format!("{head}: generic XDP, for this kernel has no native one for multi-buffer frames (5.18 has)"),
            format!("it works and costs more per packet; `ip link set {name} mtu 1500` or a newer kernel avoids that"),
        ),
        Some(true) => Finding::pass(check, format!("{head}: native XDP expected")),
        Some(false) => Finding::warn(
            check,
            format!("{head}: generic XDP"),
            "it works and costs more per packet; a driver with native XDP avoids that",
        ),
        None => Finding::warn(
            check,
            format!("{head}: attaching will tell whether XDP is native"),
            "GET /health and sentinel_xdp_packets_total say which mode it became",
        ),
    }
}

/// The interface of the default route, IPv4 before IPv6.
fn default_interface() -> Option<String> {
    let v4 = read_to_string("/proc/net/route").unwrap_or_default();
    let v4 = v4.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000")).then(|| fields[0].to_owned())
    });
    let v6 = read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let v6 = v6.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let default = fields.first().is_some_and(|net| net.bytes().all(|b| b == b'0')) && fields.get(1) == Some(&"00");
        fields
            .get(9)
            .filter(|name| default && **name != "lo")
            .map(|name| (*name).to_owned())
    });
    v4.chain(v6).next()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn occupant(name: &str) -> Occupant {
        Occupant {
            hook: "native XDP",
            id: 7,
            name: name.into(),
            uid: Some(0),
            loaded_at: None,
            holders: vec![(42, "xdp-loader".into())],
            seen: true,
        }
    }

    #[test]
    fn what_cannot_be_seen_is_nobody_else_s() {
        let unseen = Occupant {
            holders: Vec::new(),
            seen: false,
            ..occupant("")
        };
        let said = unseen.to_string();
        assert!(
            said.contains("cannot be seen") && !said.contains("no process"),
            "{said}"
        );
        let finding = hook("eth0", Hook::Xdp, &[unseen]);
        assert_eq!(finding.level, Level::Warn, "{finding:?}");
    }

    #[test]
    fn the_hook_that_will_be_used_is_told_with_whoever_is_in_the_way() {
        for (wanted, there, level, says) in [
            (Hook::Xdp, vec![], Level::Pass, "nobody else"),
            (Hook::Xdp, vec![occupant("sentinel_xdp")], Level::Pass, "ours is there"),
            (
                Hook::Xdp,
                vec![occupant("cil_xdp")],
                Level::Fail,
                "xdp-loader (process 42)",
            ),
            (
                Hook::Auto,
                vec![occupant("cil_xdp")],
                Level::Warn,
                "tc ingress, for another",
            ),
            (Hook::Tc, vec![occupant("cil_xdp")], Level::Pass, "tc ingress"),
        ] {
            let finding = hook("eth0", wanted, &there);
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(says), "{finding:?}");
            assert_eq!(finding.mend.is_empty(), level == Level::Pass, "{finding:?}");
        }
    }

    #[test]
    fn a_missing_interface_fails_only_where_there_is_no_other() {
        assert_eq!(interface("sntl-none", false).level, Level::Fail);
        assert_eq!(interface("sntl-none", true).level, Level::Warn);
    }

    #[test]
    fn what_is_pinned_is_told_with_what_becomes_of_it() {
        let mut config = Config::default();
        let found = Leftovers {
            interfaces: vec![3],
            maps: vec!["BLOCK4".into()],
            made_by: Some(("0.0.7".into(), 0xab, 1)),
            fits: true,
            foreign: Vec::new(),
        };
        let level = |config: &Config, found: &Leftovers| pins(config, found).into_iter().map(|f| f.level).max();
        assert_eq!(level(&config, &Leftovers::default()), None);
        assert_eq!(level(&config, &found), Some(Level::Fail));
        config.kernel.pin = true;
        assert_eq!(level(&config, &Leftovers::default()), Some(Level::Pass));
        assert_eq!(level(&config, &found), Some(Level::Pass));
        let other = Leftovers {
            fits: false,
            foreign: vec!["/sys/fs/bpf/sentinel/maps/x".into()],
            ..found
        };
        let said = pins(&config, &other);
        assert_eq!((said[0].level, said[1].level), (Level::Fail, Level::Warn), "{said:?}");
        assert!(
            said[0].found.contains("0.0.7") && said[0].mend.contains("detach --maps"),
            "{said:?}"
        );
    }
}
