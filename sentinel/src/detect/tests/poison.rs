//! S10: who teaches the detectors something slowly gains next to nothing by it.

use super::{EVIL, HOST};
use crate::detect::testing::{Wire, ms};
use crate::types::Detector;
use sentinel_common::packet::TCP_SYN;
use std::time::Duration;

/// Hosts, each of which attacks once with a strength of its own.
const HOSTS: u16 = 60;
/// Of honest traffic, before anybody is taught anything.
const HONEST_DAYS: u32 = 2;
const DAYS: u32 = 14;
/// What a host sends an hour, bytes.
const USUAL: f64 = 1e6;

fn address(host: u16) -> String {
    format!("10.0.1.{host}")
}

/// From one and a half times the usual to three hundred times, in even ratios.
fn strength(host: u16) -> f64 {
    1.5 * 200_f64.powf(f64::from(host) / f64::from(HOSTS - 1))
}

/// An hour in which each host is heard once.
fn hour(wire: &mut Wire, port: u16, bytes: impl Fn(u16) -> f64) {
    for host in 0..HOSTS {
        wire.session((&address(host), port), ("203.0.113.5", 443), bytes(host) as u32, 2000);
        wire.wait(ms(100));
    }
    wire.skip(Duration::from_mins(2));
    wire.now = wire.now.after(Duration::from_mins(57));
    wire.skip(Duration::from_secs(2));
}

/// A world in which what hosts send grows by a share a day for two weeks; then each attacks. Who was found, by host.
fn world(growth: f64) -> Vec<bool> {
    let mut wire = Wire::new();
    let mut factor = 1.0;
    for day in 0..HONEST_DAYS + DAYS {
        if day >= HONEST_DAYS {
            factor *= 1.0 + growth;
        }
        for clock in 0..24 {
            let port = 20_000 + (day * 24 + clock) as u16;
            // No hour is quite like another.
            let waver = 1.0 + 0.1 * f64::from((day * 7 + clock * 5) % 11) / 11.0;
            hour(&mut wire, port, |_| USUAL * factor * waver);
        }
    }
    assert!(
        wire.alerts.is_empty(),
        "the growth itself is not odd: {:?}",
        wire.alerts
    );
    hour(&mut wire, 40_000, |host| USUAL * strength(host));
    let found = wire.of(Detector::Baseline);
    let found = |host: u16| found.iter().any(|alert| alert.source == address(host).parse().ok());
    (0..HOSTS).map(found).collect()
}

#[test]
fn two_weeks_of_one_percent_more_a_day_hide_no_attack_that_was_half_again_past_what_it_took() {
    let (clean, poisoned) = (world(0.0), world(0.01));
    let weakest = clean.iter().position(|found| *found).unwrap();
    assert!(clean[weakest..].iter().all(|found| *found), "{clean:?}");
    let least = strength(weakest as u16);
    // What is not half again past what it took is hardly an attack: the usual wavers by a tenth.
    let attacks: Vec<usize> = (0..usize::from(HOSTS))
        .filter(|n| strength(*n as u16) >= 1.5 * least)
        .collect();
    let recall = |found: &[bool]| 100.0 * attacks.iter().filter(|n| found[**n]).count() as f64 / attacks.len() as f64;
    let moved = strength(poisoned.iter().position(|found| *found).unwrap() as u16) / least;
    println!(
        "{} attacks; it took {least:.1} times the usual, and {moved:.2} times that after {DAYS} days; recall {} before, {} after",
        attacks.len(),
        recall(&clean),
        recall(&poisoned)
    );
    assert!(attacks.len() >= 30 && least < 20.0, "{least}: {attacks:?}");
    assert!(recall(&clean) - recall(&poisoned) <= 2.0, "{poisoned:?}");
    assert!(moved <= 1.0 + 0.32 + 0.1, "{moved}");
}

/// What goes by limits learns nothing: whoever was patient for two weeks is found at the same port.
#[test]
fn a_patient_scanner_is_found_as_early_as_a_hasty_one() {
    for days in [0, u64::from(DAYS)] {
        let mut wire = Wire::new();
        for day in 0..days {
            // More doors a day, below what is told of, and sessions as of a good peer.
            for n in 0..=day as u16 {
                wire.tcp((EVIL, 30_000 + n), (HOST, 1000 + n), TCP_SYN, 0);
                wire.session((EVIL, 31_000 + n), (HOST, 443), 300, 900);
            }
            wire.skip(Duration::from_mins(5));
            wire.now = wire.now.after(Duration::from_hours(23));
            wire.skip(Duration::from_secs(2));
        }
        let told = wire.of(Detector::PortScan).len();
        assert_eq!(told, 0, "below the limit");
        for port in 1..15 {
            wire.tcp((EVIL, 40_000), (HOST, port), TCP_SYN, 0);
        }
        wire.wait(ms(1500));
        assert!(wire.of(Detector::PortScan).is_empty(), "{days} days: early");
        wire.tcp((EVIL, 40_000), (HOST, 15), TCP_SYN, 0);
        wire.wait(ms(1500));
        assert_eq!(wire.of(Detector::PortScan).len(), 1, "{days} days");
    }
}
