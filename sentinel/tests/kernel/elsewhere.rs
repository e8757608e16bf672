//! Connections that NAT takes elsewhere, as to the published port of a container, and a proxy that listens here beside it.

use super::cookies::{PASS, TX, counter, flood, flooded, run, set_syncookies, syn};
use super::flood::pass_on;
use super::pair::{Pair, ip};
use super::*;
use sentinel::kernel::Cookies;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

/// A namespace behind `near`, at 10.98.0.2.
struct Container(String);

impl Container {
    fn new(pair: &Pair) -> Self {
        let container = Self(pair.near.replace("-n", "-c"));
        ip(&format!("netns add {}", container.0));
        ip(&format!(
            "-n {} link add inner type veth peer name veth0 netns {}",
            pair.near, container.0
        ));
        for (ns, host, name) in [(&pair.near, 1, "inner"), (&container.0, 2, "veth0")] {
            ip(&format!("-n {ns} addr add 10.98.0.{host}/24 dev {name}"));
            ip(&format!("-n {ns} link set {name} up"));
        }
        ip(&format!("-n {} route add default via 10.98.0.1", container.0));
        Pair::inside(&pair.near, || {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        });
        container
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn nft(ns: &str, rules: &str) {
    let out = Command::new("ip")
        .args(["netns", "exec", ns, "nft", rules])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Who answers a client from far away that asks a port of the host.
fn who_answers(pair: &Pair, port: u16, listeners: [&TcpListener; 2]) -> usize {
    let mut client = Pair::inside(&pair.far, || TcpStream::connect(("10.99.0.1", port)).unwrap());
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(b"?").unwrap();
    for listener in listeners {
        listener.set_nonblocking(true).unwrap();
    }
    let start = Instant::now();
    loop {
        for (which, listener) in listeners.iter().enumerate() {
            if let Ok((mut served, _)) = listener.accept() {
                served.set_nonblocking(false).unwrap();
                served.write_all(b"!").unwrap();
                client.read_exact(&mut [0; 1]).unwrap();
                return which;
            }
        }
        assert!(start.elapsed() < Duration::from_secs(20), "nobody answers");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn no_cookie_speaks_for_a_connection_that_nat_takes_elsewhere() {
    let Some(mut kernel) = kernel(&flooded(vec![]), Mode::Production) else {
        return;
    };
    if Command::new("nft").arg("--version").output().is_err() {
        skip("no nft");
        return;
    }
    let pair = Pair::new();
    let container = Container::new(&pair);
    let wanted = ["veth0".to_owned()];
    set_syncookies(&pair.near, 2);
    Pair::inside(&pair.near, || kernel.attach(&wanted)).unwrap();
    let _far_end = pass_on(&pair);
    // To a SYN, at a port under flood.
    let asked = syn(false, 7, 8099, true);
    let answer = |kernel: &mut Kernel| {
        Pair::inside(&pair.near, || {
            kernel.tend(&wanted);
            flood(kernel, 8099);
            run(kernel, &asked).0
        })
    };
    let served = Pair::inside(&container.0, || TcpListener::bind("10.98.0.2:80").unwrap());
    // Nobody listens here: the stack's, whatever becomes of it.
    assert_eq!(answer(&mut kernel), PASS);
    // A proxy that listens at all addresses, and nothing that takes its connections from it: the cookies are its own.
    let proxy = Pair::inside(&pair.near, || TcpListener::bind("0.0.0.0:8099").unwrap());
    assert_eq!(answer(&mut kernel), TX);
    let valid = counter(&kernel, Counter::CookieValid);
    let of_veth = |kernel: &Kernel, counter| kernel.counters().read().unwrap().0[0].get(counter);
    for _ in 0..10 {
        assert_eq!((who_answers(&pair, 8099, [&proxy, &served]), valid), (0, 0));
        if of_veth(&kernel, Counter::CookieValid) > 0 {
            break;
        }
        // On a busy machine the flood may be over before the client comes.
        assert_eq!(answer(&mut kernel), TX);
    }
    assert_eq!(of_veth(&kernel, Counter::CookieValid), 1);

    let publish = "add table ip nat; add chain ip nat PREROUTING { type nat hook prerouting priority -100; };";
    nft(&pair.near, publish);
    assert_eq!(answer(&mut kernel), TX, "a chain without a rule");
    nft(
        &pair.near,
        "add rule ip nat PREROUTING tcp dport 8099 dnat to 10.98.0.2:80",
    );
    assert_eq!(answer(&mut kernel), PASS);
    let Cookies::Diverted(by) = kernel.cookies() else {
        panic!("{:?}", kernel.cookies());
    };
    assert!(by.contains("nat PREROUTING"), "{by}");
    assert_eq!(
        who_answers(&pair, 8099, [&proxy, &served]),
        1,
        "it ends in the container"
    );
    assert_eq!(of_veth(&kernel, Counter::CookieValid), 1, "by no cookie of the proxy's");
    // Which the stack makes of itself only for a listener that connections reach and fill.
    set_syncookies(&pair.near, 1);
    assert_eq!(answer(&mut kernel), PASS);
    assert_eq!(*kernel.cookies(), Cookies::Ready);
    assert_eq!(who_answers(&pair, 8099, [&proxy, &served]), 1);
    // Whose listener gave no cookie out is not what clients reach: that they bring none of it is no reason to keep them waiting.
    nft(
        &pair.near,
        "add rule ip nat PREROUTING tcp dport 8098 dnat to 10.98.0.2:80",
    );
    let beside = Pair::inside(&pair.near, || TcpListener::bind("0.0.0.0:8098").unwrap());
    let invalid = of_veth(&kernel, Counter::CookieInvalid);
    Pair::inside(&pair.near, || flood(&mut kernel, 8098));
    assert_eq!(who_answers(&pair, 8098, [&beside, &served]), 1);
    assert_eq!(of_veth(&kernel, Counter::CookieInvalid), invalid);
    // Ports that are named are the operator's word.
    set_syncookies(&pair.near, 2);
    let mut named = self::kernel(&flooded(vec![8099]), Mode::Production).unwrap();
    Pair::inside(&pair.near, || {
        named.tend(&[]);
        flood(&mut named, 8099);
        assert_eq!(run(&mut named, &asked).0, TX);
    });
    drop(named);

    assert_eq!(answer(&mut kernel), PASS);
    nft(&pair.near, "delete table ip nat");
    assert_eq!(answer(&mut kernel), TX);
    assert_eq!(*kernel.cookies(), Cookies::Ready);
}
