//! The room in a network namespace of its own.

use super::*;
use crate::types::Component;
use nix::sched::{CloneFlags, unshare};
use std::process::Command;

fn ip(arguments: &str) {
    let done = Command::new("ip")
        .args(arguments.split(' '))
        .status()
        .expect("iproute2 is installed");
    assert!(done.success(), "ip {arguments}");
}

async fn see(watcher: &mut watch::Receiver<Arc<HostFacts>>, what: &str, seen: impl Fn(&HostFacts) -> bool) {
    let started = std::time::Instant::now();
    let within = Duration::from_secs(1);
    let found = tokio::time::timeout(within, watcher.wait_for(|facts| seen(facts))).await;
    assert!(found.is_ok_and(|f| f.is_ok()), "{what}: not within {within:?}");
    println!("{what}: after {:?}", started.elapsed());
}

#[test]
fn addresses_and_routes_that_come_and_go_are_seen_within_a_second() {
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
            let (room, mut watcher) = HostRoom::open(Vec::new(), || ()).await.expect("netlink");
            let (health, board) = watch::channel(Arc::default());
            let cancel = CancellationToken::new();
            let running = tokio::spawn(room.run(health, cancel.clone()));
            let own = "192.0.2.77".parse().expect("an address");
            let gateway = "192.0.2.1".parse().expect("an address");
            ip("link add sntest0 type veth peer name sntest1");
            ip("link set sntest1 up");
            ip("link set sntest0 up");
            ip("address add 192.0.2.77/24 dev sntest0");
            see(&mut watcher, "a new address", |f| f.addresses.contains(&own)).await;
            ip("route add default via 192.0.2.1 dev sntest0");
            see(&mut watcher, "a new gateway", |f| {
                f.gateways.contains(&gateway) && f.default_interface.as_deref() == Some("sntest0")
            })
            .await;
            ip("address add 2001:db8::77/64 dev sntest0 nodad");
            see(&mut watcher, "an IPv6 address", |f| {
                f.addresses.iter().any(|a| a.to_string() == "2001:db8::77")
            })
            .await;
            ip("address del 192.0.2.77/24 dev sntest0");
            see(&mut watcher, "an address that went", |f| !f.addresses.contains(&own)).await;
            assert!(matches!(
                board.borrow().components.get(&Component::Host),
                Some(Condition::Ok { .. })
            ));
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
        condition(Some(&error), &HostFacts::default()),
        Condition::Degraded { cause, .. } if cause.contains("resolv.conf")
    ));
}
