//! Other thresholds while detectors run. One whose own settings did not change keeps all it has counted; one that they
//! changed for begins anew, as it would at a start.

use super::{Detectors, behaviour};
use crate::config::{Config, DetectConfig};
use crate::types::Detector as Name;

impl Detectors {
    /// Goes by other settings of `detect` and `severity_thresholds` from now on; model, baseline and lists stay as they are.
    pub fn renew(&mut self, config: &Config) {
        let before = std::mem::replace(&mut self.by, config.detect.clone());
        let mut standing = std::mem::take(&mut self.behaviour);
        self.behaviour = behaviour(config)
            .into_iter()
            .map(|new| {
                let old = standing.iter().position(|old| old.name() == new.name());
                match old {
                    Some(old) if unchanged(new.name(), &before, &config.detect) => standing.swap_remove(old),
                    _ => new,
                }
            })
            .collect();
        let after = config.detect.realert_after;
        self.noticed.set_realert_after(after);
        if let Some(baseline) = &mut self.baseline {
            baseline.set_freeze(after);
        }
        self.speaker.voice.renew(after, config.severity_thresholds);
    }
}

/// Whether a detector's own settings are the same.
fn unchanged(name: Name, old: &DetectConfig, new: &DetectConfig) -> bool {
    match name {
        Name::PortScan => old.port_scan == new.port_scan,
        Name::SynFlood => old.syn_flood == new.syn_flood,
        Name::PacketFlood => old.packet_flood == new.packet_flood,
        Name::BruteForce => old.brute_force == new.brute_force,
        Name::SlowScan => old.slow_scan == new.slow_scan,
        Name::DistributedBruteForce => old.distributed_brute_force == new.distributed_brute_force,
        Name::Beacon => old.beacon == new.beacon,
        Name::DnsTunnel => old.dns_tunnel == new.dns_tunnel,
        Name::IcmpTunnel => old.icmp_tunnel == new.icmp_tunnel,
        Name::Upload => old.upload == new.upload,
        Name::LateralMovement => old.lateral_movement == new.lateral_movement,
        Name::Amplification => old.amplification == new.amplification,
        Name::SlowDos => old.slow_dos == new.slow_dos,
        // None of these is among those that are made anew.
        Name::SynFloodKernel | Name::Baseline | Name::Model | Name::Reflex | Name::Probation | Name::Feed => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Clock, Mint};

    fn names(detectors: &Detectors) -> Vec<Name> {
        detectors.behaviour.iter().map(|one| one.name()).collect()
    }

    #[test]
    fn only_what_changed_is_made_anew() {
        let mut config = Config::default();
        let mut detectors = Detectors::new(&config, Clock::default(), Mint::Random, "xdp");
        let places = |detectors: &Detectors| -> Vec<*const u8> {
            detectors
                .behaviour
                .iter()
                .map(|one| std::ptr::from_ref(&**one).cast::<u8>())
                .collect()
        };
        let (before, all) = (places(&detectors), names(&detectors));
        config.detect.port_scan.ports += 1;
        config.severity_thresholds.medium = 0.6;
        config.detect.realert_after *= 3;
        detectors.renew(&config);
        let frozen = detectors.baseline.as_ref().map(crate::detect::Baseline::frozen_for);
        assert_eq!(frozen, Some(config.detect.realert_after));
        let after = places(&detectors);
        assert_eq!(names(&detectors), all, "they speak in the same order");
        assert_ne!(before[0], after[0], "port_scan is new");
        assert_eq!(before[1..], after[1..], "the others are those that were there");
        assert!((detectors.speaker.voice.thresholds().medium - 0.6).abs() < 1e-9);
        config.detect.beacon.enabled = false;
        detectors.renew(&config);
        assert!(!names(&detectors).contains(&Name::Beacon));
        config.detect.beacon.enabled = true;
        detectors.renew(&config);
        assert_eq!(names(&detectors), all);
    }
}
