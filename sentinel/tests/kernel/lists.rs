//! Feed lists: exchanged at one instant, refused as a whole, in force on real packets.

use super::frames::{UDP, frame, udp};
use super::pair::{Ending, Pair, ip};
use super::*;
use ipnet::IpNet;
use sentinel::kernel::{ListId, ListOrder};
use sentinel::respond::Enforcer;
use sentinel::time::boot_now;
use sentinel_common::entry::{AllowEntry, NEVER_NS};
use sentinel_common::names::PROG_XDP;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const DROP: u32 = 1;
const PASS: u32 = 2;
const LIST: ListId = ListId::new(5).unwrap();

fn order() -> ListOrder {
    ListOrder {
        decision: [5; 16],
        expires_ns: NEVER_NS,
        shadow: false,
    }
}

fn nets(nets: &[&str]) -> Vec<IpNet> {
    nets.iter().map(|net| net.parse().unwrap()).collect()
}

fn probe() -> Vec<u8> {
    frame("198.51.100.7", "10.0.0.1", &udp(1, 2, b""), UDP)
}

#[test]
fn a_list_is_exchanged_with_no_packet_judged_by_a_mixture() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let lists = kernel.lists();
    // The probe is on both, each time by other means, and both hold enough for an exchange to take its time.
    let fill = |at: u32| (0..60).map(move |n| IpNet::from(std::net::IpAddr::V4(Ipv4Addr::from(at + n * 0x1_0000))));
    let exact = || fill(0x0b00_0000).chain(nets(&["198.51.100.7/32"]));
    let prefix = || fill(0x0c00_0000).chain(nets(&["198.51.96.0/20", "203.0.113.0/24"]));
    lists.replace(LIST, &order(), exact()).unwrap();
    let (done, runs) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _end = Ending(&done);
            for _ in 0..20 {
                lists.replace(LIST, &order(), prefix()).unwrap();
                lists.replace(LIST, &order(), exact()).unwrap();
            }
        });
        let frame = probe();
        let before = kernel.test_counters().unwrap()[Counter::DropList as usize];
        while !done.load(Ordering::Acquire) {
            assert_eq!(kernel.test_run(PROG_XDP, &frame, 1000).unwrap().code, DROP);
            runs.fetch_add(1000, Ordering::Relaxed);
        }
        // Every run counts, not only the last of each thousand.
        let after = kernel.test_counters().unwrap()[Counter::DropList as usize];
        assert_eq!(after - before, runs.load(Ordering::Relaxed));
    });
    println!("{} packets during 40 exchanges", runs.into_inner());
}

#[test]
fn a_list_that_does_not_fit_is_refused_and_nothing_changes() {
    let small = KernelConfig {
        list_capacity: 8,
        list_net_capacity: 4,
        ..config()
    };
    let Some(mut kernel) = kernel(&small, Mode::Production) else {
        return;
    };
    let lists = kernel.lists();
    let first = nets(&["198.51.100.7/32", "203.0.113.0/24", "2001:db8::/32"]);
    lists.replace(LIST, &order(), first.clone()).unwrap();
    let hinted = kernel.test_hinted();
    let usage = kernel.counters().read().unwrap().1;
    let many =
        |n: u32, len: u8| (0..n).map(move |n| IpNet::new(Ipv4Addr::from(0x0b00_0000 + (n << 8)).into(), len).unwrap());
    for (more, key) in [(many(9, 32), "list_capacity"), (many(5, 24), "list_net_capacity")] {
        let error = lists.replace(LIST, &order(), more.clone()).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
        let error = lists.change(LIST, more, first.clone()).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
        let mut entries: Vec<_> = lists.entries(LIST).unwrap().into_iter().map(|(net, _)| net).collect();
        entries.sort_unstable();
        assert_eq!(entries, first);
        assert_eq!(kernel.test_hinted(), hinted);
        assert_eq!(kernel.counters().read().unwrap().1, usage);
        assert_eq!(kernel.test_run(PROG_XDP, &probe(), 1).unwrap().code, DROP);
    }
    // Old and new stand side by side while they are exchanged.
    let fits = lists.replace(LIST, &order(), many(7, 32)).unwrap();
    assert_eq!((fits.added, fits.removed, fits.kept), (7, 3, 0));
}

#[test]
fn a_list_counts_per_list_and_per_entry_and_the_lowest_enforcing_one_answers() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let lists = kernel.lists();
    let id = |n| ListId::new(n).unwrap();
    let shadow = ListOrder {
        shadow: true,
        ..order()
    };
    let ended = ListOrder {
        expires_ns: boot_now().0,
        ..order()
    };
    lists.replace(id(0), &shadow, nets(&["198.51.100.7/32"])).unwrap();
    lists.replace(id(1), &ended, nets(&["198.51.100.0/24"])).unwrap();
    let run = |kernel: &mut Kernel| {
        let before = kernel.test_counters().unwrap();
        let code = kernel.test_run(PROG_XDP, &probe(), 2).unwrap().code;
        (code, moved(&before, &kernel.test_counters().unwrap()))
    };
    let (code, counters) = run(&mut kernel);
    assert_eq!(
        (code, counters.get("would_drop"), counters.get("expired")),
        (PASS, Some(&2), Some(&2))
    );
    lists.replace(id(7), &order(), nets(&["198.51.0.0/16"])).unwrap();
    lists.replace(id(9), &order(), nets(&["198.51.100.7/32"])).unwrap();
    let (code, counters) = run(&mut kernel);
    assert_eq!(
        (code, counters.get("drop_list"), counters.get("would_drop")),
        (DROP, Some(&2), None)
    );
    let hits: Vec<_> = lists
        .in_use()
        .unwrap()
        .iter()
        .map(|one| (one.list.number(), one.hits.hits, one.hits.would_hits))
        .collect();
    assert_eq!(hits, [(0, 0, 2), (1, 0, 0), (7, 2, 0), (9, 0, 0)]);
    let bytes = probe().len() as u64;
    assert_eq!(lists.in_use().unwrap()[2].hits.hit_bytes, 2 * bytes);
    // Every element that matched counted, also where another list answered.
    assert_eq!(lists.entries(id(0)).unwrap()[0].1, 4);
    kernel.set_enforce(false).unwrap();
    let (code, counters) = run(&mut kernel);
    assert_eq!(
        (code, counters.get("drop_list"), counters.get("would_drop")),
        (PASS, None, Some(&2))
    );
    kernel.set_enforce(true).unwrap();
    let mut blocks = kernel.blocks();
    let allow = AllowEntry {
        expires_ns: NEVER_NS,
        ..AllowEntry::default()
    };
    blocks.put_allow("198.51.100.7/32".parse().unwrap(), &allow).unwrap();
    let (code, counters) = run(&mut kernel);
    assert_eq!((code, counters.get("pass_allowed")), (PASS, Some(&2)));
    assert_eq!(counters.get("would_drop"), None);
    // A list that comes into use again counts afresh.
    lists.remove(id(7)).unwrap();
    lists.replace(id(7), &order(), nets(&["10.0.0.0/8"])).unwrap();
    assert_eq!(lists.in_use().unwrap()[2].hits.hits, 0);
}

#[test]
fn a_list_ends_in_the_kernel_on_time() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let expires_ns = boot_now().0 + 300_000_000;
    let order = ListOrder { expires_ns, ..order() };
    kernel
        .lists()
        .replace(LIST, &order, nets(&["198.51.100.0/24"]))
        .unwrap();
    let frame = probe();
    loop {
        let before = boot_now().0;
        let code = kernel.test_run(PROG_XDP, &frame, 1).unwrap().code;
        let after = boot_now().0;
        // The kernel's own reading lies between the two, however long this waits for a processor.
        if code == PASS {
            assert!(
                after + 20_000_000 >= expires_ns,
                "{} ms early",
                (expires_ns - after) / 1_000_000
            );
            break;
        }
        assert_eq!(code, DROP);
        assert!(
            before < expires_ns + 50_000_000,
            "{} ms late",
            (before - expires_ns) / 1_000_000
        );
    }
}

#[test]
fn a_list_stops_real_packets_and_lets_them_through_again() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
    let lists = kernel.lists();
    ip(&format!("-n {} neigh flush dev veth0", pair.far));
    for (net, to) in [
        ("10.99.0.2/32", "10.99.0.1"),
        ("10.99.0.0/30", "10.99.0.1"),
        ("fd99::2/128", "fd99::1"),
        ("fd99::/64", "fd99::1"),
    ] {
        assert!(pair.ping(to), "{net} is not listed");
        lists.replace(LIST, &order(), nets(&[net])).unwrap();
        assert!(!pair.ping(to), "{net} is listed");
        let hits = lists.in_use().unwrap()[0].hits.hits;
        assert!(hits >= 2, "{net}: {hits}");
        assert_eq!(
            lists
                .met(if to.contains(':') { "fd99::2" } else { "10.99.0.2" }.parse().unwrap())
                .unwrap(),
            [LIST]
        );
        let shadow = ListOrder {
            shadow: true,
            ..order()
        };
        lists.replace(LIST, &shadow, nets(&[net])).unwrap();
        assert!(pair.ping(to), "{net} only counts");
        assert!(lists.in_use().unwrap()[0].hits.would_hits >= 2, "{net}");
        lists.remove(LIST).unwrap();
    }
}

#[test]
fn a_change_of_a_thousand_in_a_large_list_touches_no_more_than_that() {
    let large = KernelConfig {
        list_capacity: 200_000,
        ..config()
    };
    let Some(kernel) = kernel(&large, Mode::Production) else {
        return;
    };
    let lists = kernel.lists();
    let address = |n: u32| IpNet::from(std::net::IpAddr::V4(Ipv4Addr::from(n.wrapping_mul(0x9e37_79b1))));
    let loaded = lists.replace(LIST, &order(), (0..200_000).map(address)).unwrap();
    assert_eq!((loaded.added, loaded.removed), (200_000, 0));
    let at = Instant::now();
    let change = lists.change(LIST, (200_000..200_500).map(address), (0..500).map(address));
    // Full: what is removed makes room only once no packet goes by it any more.
    assert!(change.is_err());
    let change = lists.change(LIST, [], (0..500).map(address)).unwrap();
    assert_eq!(change.removed, 500);
    let change = lists.change(LIST, (200_000..200_500).map(address), []).unwrap();
    assert_eq!(change.added, 500);
    println!("three changes: {:?}", at.elapsed());
    assert!(at.elapsed() < Duration::from_mins(1));
    assert_eq!(lists.entries(LIST).unwrap().len(), 200_000);
    let again = lists.replace(LIST, &order(), (500..200_500).map(address)).unwrap();
    assert_eq!((again.added, again.removed, again.kept), (0, 0, 200_000));
}
