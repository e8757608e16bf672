//! The room in a network namespace of its own.

use super::*;
use crate::types::Component;
use nix::sched::{CloneFlags, unshare};
use std::collections::BTreeMap;
use std::process::Command;

fn ip(arguments: &str) {
    let done = Command::new("ip")
        .args(arguments.split(' '))
        .status()
        .expect("iproute2 is installed");
    assert!(done.success(), "ip {arguments}");
}

/// What is seen of the host, and the shortest time that each kind of news took.
struct Seen {
    watcher: watch::Receiver<Arc<HostFacts>>,
    best: BTreeMap<&'static str, Duration>,
}

impl Seen {
    async fn see(&mut self, what: &'static str, seen: impl Fn(&HostFacts) -> bool) {
        let started = std::time::Instant::now();
        let within = Duration::from_mins(1);
        let found = tokio::time::timeout(within, self.watcher.wait_for(|facts| seen(facts))).await;
        assert!(found.is_ok_and(|f| f.is_ok()), "{what}: not within {within:?}");
        let took = started.elapsed();
        let best = self.best.entry(what).or_insert(took);
        *best = took.min(*best);
    }
}

#[test]
fn addresses_and_routes_that_come_and_go_are_seen() {
    // The namespace is this thread's and goes with it.
    let alone = std::thread::spawn(|| {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            println!("skipped: a network namespace needs root ({error})");
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            ip("link set lo up");
            let (room, watcher) = HostRoom::open(Vec::new(), || ()).await.expect("netlink");
            let (health, board) = watch::channel(Arc::default());
            let cancel = CancellationToken::new();
            let running = tokio::spawn(room.run(health, cancel.clone()));
            let own = "192.0.2.77".parse().expect("an address");
            let gateway = "192.0.2.1".parse().expect("an address");
            ip("link add sntest0 type veth peer name sntest1");
            ip("link set sntest1 up");
            ip("link set sntest0 up");
            let mut host = Seen {
                watcher,
                best: BTreeMap::new(),
            };
            let six = "2001:db8::77".parse().expect("an address");
            for _ in 0..3 {
                ip("address add 192.0.2.77/24 dev sntest0");
                host.see("a new address", |f| f.addresses.contains(&own)).await;
                ip("route add default via 192.0.2.1 dev sntest0");
                host.see("a new gateway", |f| {
                    f.gateways.contains(&gateway) && f.default_interface.as_deref() == Some("sntest0")
                })
                .await;
                ip("address add 2001:db8::77/64 dev sntest0 nodad");
                host.see("an IPv6 address", |f| f.addresses.contains(&six)).await;
                ip("route del default via 192.0.2.1 dev sntest0");
                host.see("a gateway that went", |f| !f.gateways.contains(&gateway))
                    .await;
                ip("address del 192.0.2.77/24 dev sntest0");
                host.see("an address that went", |f| !f.addresses.contains(&own)).await;
                ip("address del 2001:db8::77/64 dev sntest0");
                host.see("an IPv6 address that went", |f| !f.addresses.contains(&six))
                    .await;
            }
            for (what, took) in &host.best {
                eprintln!("figure: {what}, seen after = {:.3} s", took.as_secs_f64());
            }
            // In a container the tests see nobody either.
            let how = board.borrow().components.get(&Component::Host).cloned();
            let well = match how.as_ref() {
                Some(Condition::Ok { .. }) => true,
                Some(Condition::Degraded { cause, .. }) => cause == Blind::Wholly.told()[0],
                None => false,
            };
            assert!(well, "{how:?}");
            cancel.cancel();
            assert!(running.await.is_ok());
        });
    });
    assert!(alone.join().is_ok());
}

#[test]
fn a_reading_that_fails_is_said() {
    let error = HostError::Resolvers {
        path: "/etc/resolv.conf",
        source: io::ErrorKind::PermissionDenied.into(),
    };
    assert!(matches!(
        condition(Some(&error), Some(Blind::Wholly), &HostFacts::default()),
        Condition::Degraded { cause, .. } if cause.contains("resolv.conf")
    ));
}

#[test]
fn that_sessions_cannot_be_seen_is_said_with_its_mend() {
    let facts = HostFacts::default();
    assert!(matches!(condition(None, None, &facts), Condition::Ok { .. }));
    for (blind, why) in [(Blind::Wholly, "/run/systemd/sessions"), (Blind::Named, "UseDNS")] {
        let Condition::Degraded { cause, mend } = condition(None, Some(blind), &facts) else {
            panic!("{blind:?} is no trouble");
        };
        assert!(cause.contains(why) && cause.contains("not protected"), "{cause}");
        assert!(
            mend.contains("`allowlist`") && mend.contains("CAP_SYS_PTRACE"),
            "{mend}"
        );
    }
}
