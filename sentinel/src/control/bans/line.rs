//! Brings Bettercap in line: off, set, looked at, on, looked at.

use super::sort::guarded;
use super::{BanError, Bans};
use crate::bettercap::{Command, State};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::sleep;

/// Looks until Bettercap has learnt a target's MAC, and the pause between two.
const LOOKS: u32 = 8;
const BETWEEN: Duration = Duration::from_millis(500);
/// What was said to one who is no target any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The gateway's own address.
    Gateway,
    /// Nothing, and why.
    Nothing(&'static str),
}

const NO_MAC: &str = "Bettercap knows no MAC of it";
const ODD: &str = "a setting of `arp.spoof` is not as it comes";
const NO_GATEWAY: &str = "Bettercap knows no gateway";
const ROUTES: &str = "this host is a router now, and only `arp.ban on` can stop";
const OFF_LINK: &str = "it is not on the link of Bettercap's interface any more";
const PROTECTED: &str = "it is protected now, and only who is a target again can be told";

/// A port that nobody listens on (RFC 863): what is sent there only has the kernel ask for the MAC.
const DISCARD: u16 = 9;

impl Bans {
    /// The switches that make a machine a router; `arp.ban on` writes 0 to both and nothing writes them back.
    pub(super) fn forwards(&self) -> Option<&'static str> {
        const SWITCHES: [(&str, &str); 2] = [
            ("ipv4/ip_forward", "net.ipv4.ip_forward"),
            ("ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"),
        ];
        let on = |file: &str| match std::fs::read_to_string(self.sysctl.join(file)) {
            Ok(text) => text.trim() != "0",
            // Without the protocol there is no file. Whatever else cannot be read may be on.
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        };
        SWITCHES.iter().find(|(file, _)| on(file)).map(|(_, name)| *name)
    }

    /// Has `targets` banned and nobody else, and who leaves told the gateway's own address. Of the targets, those whose
    /// MAC Bettercap knows, as read back.
    pub(super) async fn line_up(
        &mut self,
        state: State,
        targets: &BTreeSet<Ipv4Addr>,
        leave: &BTreeSet<Ipv4Addr>,
        before: &str,
    ) -> Result<BTreeSet<Ipv4Addr>, BanError> {
        let stands = state.running && state.listed().as_ref() == Some(targets);
        let rests = targets.is_empty() && !state.running;
        if leave.is_empty() && (stands || rests) {
            nudge(targets.difference(&state.hosts)).await;
            return Ok(state.hosts);
        }
        if state.running {
            self.session.run(&Command::BanOff).await?;
            self.let_go(&state, &state.listed().unwrap_or_default());
        } else {
            self.put_right(&state, leave).await?;
        }
        if targets.is_empty() {
            return self.rest(before).await;
        }
        nudge(targets.difference(&state.hosts)).await;
        self.set_and_start(targets).await?;
        let mut looks = 1;
        loop {
            let state = self.session.state().await?;
            if !state.running || state.listed().as_ref() != Some(targets) {
                if state.running {
                    // Whom it bans is not whom we meant.
                    self.session.run(&Command::BanOff).await?;
                }
                return Err(BanError::Otherwise("Bettercap says yes, and does something else"));
            }
            if looks >= LOOKS || targets.is_subset(&state.hosts) {
                return Ok(state.hosts);
            }
            looks += 1;
            sleep(BETWEEN).await;
        }
    }

    /// What `arp.ban off` has said to those that were its targets.
    fn let_go(&mut self, state: &State, whom: &BTreeSet<Ipv4Addr>) {
        for address in whom {
            let told = if state.odd.is_some() {
                Told::Nothing(ODD)
            } else if state.gateway == state.own {
                Told::Nothing(NO_GATEWAY)
            } else if !state.hosts.contains(address) {
                Told::Nothing(NO_MAC)
            } else {
                Told::Gateway
            };
            self.gone.insert(*address, told);
        }
    }

    /// Never starts with other targets than these, above all not with the whole subnet. How it stood before the start.
    async fn set_and_start(&mut self, targets: &BTreeSet<Ipv4Addr>) -> Result<State, BanError> {
        self.session.run(&Command::Targets(targets)).await?;
        let state = self.session.state().await?;
        if state.running || state.odd.is_some() || state.listed().as_ref() != Some(targets) {
            return Err(BanError::Otherwise("the targets of `arp.spoof` are not what was set"));
        }
        if let Some(switch) = self.forwards() {
            return Err(BanError::Forwards(switch));
        }
        self.gone.retain(|address, _| !targets.contains(address));
        self.session.run(&Command::BanOn).await?;
        Ok(state)
    }

    /// Who leaves while nothing runs (Bettercap was killed): only what starts can stop and tell them the truth. Whoever was
    /// told is not made a target for it again.
    async fn put_right(&mut self, state: &State, leave: &BTreeSet<Ipv4Addr>) -> Result<(), BanError> {
        let leave = leave.iter().filter(|one| self.gone.get(one) != Some(&Told::Gateway));
        let sorted: Vec<(Ipv4Addr, Option<&'static str>)> = {
            let protected = self.protected.borrow();
            let routes = self.forwards().is_some();
            let why = |one: Ipv4Addr| {
                if routes {
                    Some(ROUTES)
                } else if state.odd.is_some() {
                    Some(ODD)
                } else if state.gateway == state.own {
                    Some(NO_GATEWAY)
                } else if !state.network.is_some_and(|net| net.contains(&one)) {
                    Some(OFF_LINK)
                } else if guarded(&protected, one).is_some() || one == state.gateway {
                    Some(PROTECTED)
                } else {
                    None
                }
            };
            leave.map(|one| (*one, why(*one))).collect()
        };
        let mut whom = BTreeSet::new();
        for (address, why) in sorted {
            match why {
                Some(why) => {
                    self.gone.insert(address, Told::Nothing(why));
                }
                None => {
                    whom.insert(address);
                }
            }
        }
        if whom.is_empty() {
            return Ok(());
        }
        self.learn(&whom, &state.hosts).await?;
        let state = self.set_and_start(&whom).await?;
        self.session.run(&Command::BanOff).await?;
        self.let_go(&state, &whom);
        Ok(())
    }

    /// Gives Bettercap the time to learn their MACs, without which it can tell them nothing.
    async fn learn(&self, whom: &BTreeSet<Ipv4Addr>, hosts: &BTreeSet<Ipv4Addr>) -> Result<(), BanError> {
        let mut known = whom.is_subset(hosts);
        if !known {
            nudge(whom.difference(hosts)).await;
        }
        for _ in 1..LOOKS {
            if known {
                break;
            }
            sleep(BETWEEN).await;
            known = whom.is_subset(&self.session.state().await?.hosts);
        }
        Ok(())
    }

    /// Nobody is banned, and the targets are what they were.
    async fn rest(&self, before: &str) -> Result<BTreeSet<Ipv4Addr>, BanError> {
        let state = self.session.state().await?;
        if state.running {
            return Err(BanError::Otherwise("Bettercap says that it stopped, and goes on"));
        }
        if !before.is_empty() && state.targets != before {
            self.session.run(&Command::Before(before)).await?;
        }
        Ok(BTreeSet::new())
    }
}

/// Has the kernel ask for their MACs: Bettercap finds them in its table. Nobody need hear the packet.
async fn nudge(whom: impl Iterator<Item = &Ipv4Addr>) {
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await else {
        return;
    };
    for address in whom {
        // A target that is not there is told as not known.
        let _ = socket.send_to(&[0], (*address, DISCARD)).await;
    }
}
