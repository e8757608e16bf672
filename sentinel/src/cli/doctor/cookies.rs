//! What becomes of a flood of forged SYNs on this machine.

use super::Finding;
use crate::config::{Config, Mode, Switch};
use crate::kernel::{Sysctl, diverted, probe, syncookies};
use std::io;

const CHECK: &str = "syn cookies";

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let sysctl = syncookies();
    let said = sysctl.as_ref().ok();
    let elsewhere = said.and_then(|sysctl| diverted(&config.kernel.syn_cookies.ports, *sysctl));
    let mut out = vec![finding(config, sysctl, elsewhere.as_deref())];
    let named = config.kernel.interfaces.iter();
    out.extend(named.filter_map(|name| link(config, name, probe::xdp_support(name).driver.as_deref())));
    out
}

/// Where answers would not arrive.
fn link(config: &Config, interface: &str, driver: Option<&str>) -> Option<Finding> {
    let passed_over = driver == Some("veth")
        && config.kernel.syn_cookies.enabled == Switch::Auto
        && !config.kernel.force_generic
        && config.kernel.egress;
    passed_over.then(|| {
        Finding::warn(
            CHECK,
            format!(
                "{interface} is one end of a veth pair, which drops answers unless the other end has an XDP program"
            ),
            "where it has one, set kernel.syn_cookies.enabled: true; or kernel.force_generic: true, which needs none",
        )
    })
}

/// `elsewhere` is what may take connections past the socket that listens here.
fn finding(config: &Config, sysctl: io::Result<Sysctl>, elsewhere: Option<&str>) -> Finding {
    let wanted = config.kernel.syn_cookies.enabled;
    if wanted == Switch::Off {
        return Finding::pass(CHECK, "off (kernel.syn_cookies.enabled): SYN floods are only reported");
    }
    if !config.kernel.egress {
        return Finding::warn(
            CHECK,
            "without the egress program no handshake is seen to complete, so no SYN flood is recognised",
            "set kernel.egress: true",
        );
    }
    let sysctl = match sysctl {
        Ok(sysctl) => sysctl,
        Err(error) => {
            return Finding::warn(
                CHECK,
                format!("net.ipv4.tcp_syncookies cannot be read ({error}): the agent takes it for 2"),
                "run this as root; `sysctl net.ipv4.tcp_syncookies` says what refuses",
            );
        }
    };
    if let Some(elsewhere) = elsewhere {
        return Finding::warn(
            CHECK,
            format!(
                "net.ipv4.tcp_syncookies is 2 and {elsewhere} may take connections to a container, which would not know \
                 the cookie: SYN floods are only reported"
            ),
            "name the ports whose connections end on this host in kernel.syn_cookies.ports, or set the sysctl to 1",
        );
    }
    match sysctl {
        Sysctl::Missing => Finding::warn(
            CHECK,
            "this kernel has none (CONFIG_SYN_COOKIES), or /proc does not say: SYN floods are only reported",
            "use a kernel with CONFIG_SYN_COOKIES (Debian's have it)",
        ),
        Sysctl::Never => Finding::warn(
            CHECK,
            "net.ipv4.tcp_syncookies is 0: the stack would take no cookie back, so none is sent",
            "sysctl -w net.ipv4.tcp_syncookies=1 (2 answers earlier), and put it into /etc/sysctl.d",
        ),
        Sysctl::WhenFull | Sysctl::Always if config.mode == Mode::Simulation => {
            Finding::pass(CHECK, "simulation: SYN floods are reported, none is answered")
        }
        Sysctl::WhenFull => Finding::pass(
            CHECK,
            "net.ipv4.tcp_syncookies is 1: a port under flood is answered with cookies while its listener's queue is full",
        ),
        Sysctl::Always => Finding::pass(
            CHECK,
            "net.ipv4.tcp_syncookies is 2: a port under flood is answered with cookies at once",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn each_setting_is_told_with_its_mend() {
        let mut config = Config {
            mode: Mode::Production,
            ..Config::default()
        };
        for (sysctl, level) in [
            (Sysctl::Never, Level::Warn),
            (Sysctl::Missing, Level::Warn),
            (Sysctl::WhenFull, Level::Pass),
            (Sysctl::Always, Level::Pass),
        ] {
            let found = finding(&config, Ok(sysctl), None);
            assert_eq!(found.level, level, "{found:?}");
            assert_eq!(found.mend.is_empty(), level == Level::Pass, "{found:?}");
        }
        let found = finding(&config, Err(io::ErrorKind::PermissionDenied.into()), None);
        assert!(
            found.level == Level::Warn && found.found.contains("cannot be read"),
            "{found:?}"
        );
        let found = finding(&config, Ok(Sysctl::Always), Some("the nftables chain nat PREROUTING"));
        assert_eq!(found.level, Level::Warn);
        assert!(found.mend.contains("syn_cookies.ports"), "{found:?}");
        assert_eq!(link(&config, "eth0", Some("virtio_net")), None);
        assert!(
            link(&config, "eth0", Some("veth"))
                .expect("said")
                .mend
                .contains("enabled: true")
        );
        config.kernel.egress = false;
        assert_eq!(finding(&config, Ok(Sysctl::Always), None).level, Level::Warn);
        config.kernel.syn_cookies.enabled = Switch::Off;
        assert_eq!(finding(&config, Ok(Sysctl::Never), None).level, Level::Pass);
    }
}
