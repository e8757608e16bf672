//! A writer that starts on maps an earlier one filled and left, in the midst of a change.

use super::lists::{ListId, ListMaps, ListOrder};
use super::{BlockMaps, Shared};
use crate::config::{Config, KernelConfig};
use crate::kernel::load::{OBJECT, capacities, has_object, take};
use crate::kernel::settings::SettingsMap;
use crate::kernel::{attach, probe};
use crate::respond::Enforcer;
use aya::EbpfLoader;
use ipnet::IpNet;
use sentinel_common::entry::{ACTION_DROP, AllowEntry, BlockEntry, NEVER_NS};
use sentinel_common::names as n;
use sentinel_common::settings::Settings;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const MAPS: &[&str] = &[
    n::MAP_ALLOW4,
    n::MAP_ALLOW6,
    n::MAP_BLOCK4,
    n::MAP_BLOCK6,
    n::MAP_ENTRY4,
    n::MAP_ENTRY6,
    n::MAP_BLOCK_NET4,
    n::MAP_BLOCK_NET6,
    n::MAP_HINT4,
    n::MAP_HINT6,
    n::MAP_EPOCH,
    n::MAP_LIST4,
    n::MAP_LIST6,
    n::MAP_LIST_NET4,
    n::MAP_LIST_NET6,
    n::MAP_LISTS,
    n::MAP_LIST_HITS,
];

/// A bpffs of this test's own, gone with it.
struct Bpffs(tempfile::TempDir);

impl Bpffs {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "bpf", "bpf"]).arg(directory.path());
        assert!(mount.status().unwrap().success());
        Self(directory)
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// What an agent has of these maps. Its settings begin as `before`, which a takeover sees to: they are no map that is kept.
fn agent(pins: &Path, config: &KernelConfig, before: Settings) -> (Arc<Shared>, Arc<SettingsMap>) {
    let mut loader = EbpfLoader::new();
    for (name, entries) in capacities(config) {
        loader.map_max_entries(name, entries);
    }
    for name in MAPS {
        loader.map_pin_path(name, pins.join(name));
    }
    let mut ebpf = loader.load(OBJECT).unwrap();
    let settings = Arc::new(SettingsMap::new(take(&mut ebpf, n::MAP_SETTINGS).unwrap()));
    settings.change(|settings| *settings = before).unwrap();
    let shared = Shared::new(&mut ebpf, config, &settings, 4, None).unwrap();
    (Arc::new(shared), settings)
}

fn nets(nets: &[&str]) -> Vec<IpNet> {
    nets.iter().map(|net| net.parse().unwrap()).collect()
}

fn sorted<T>(entries: Vec<(IpNet, T)>) -> Vec<IpNet> {
    let mut nets: Vec<_> = entries.into_iter().map(|(net, _)| net).collect();
    nets.sort_unstable();
    nets
}

#[test]
fn what_an_earlier_agent_left_is_found_and_can_be_taken_back() {
    if !has_object() || !probe::missing_capabilities().is_empty() {
        println!("skipped: needs root and the kernel object");
        return;
    }
    let pins = Bpffs::new();
    let config = KernelConfig {
        list_capacity: 64,
        list6_capacity: 64,
        ..Config::default().kernel
    };
    let attached = || attach::Links::default().attached();
    let all = nets(&["10.0.0.0/8", "10.1.2.3/32", "2001:db8::/48", "2001:db8::7/128"]);
    let list = ListId::new(4).unwrap();
    let order = ListOrder {
        decision: [4; 16],
        expires_ns: NEVER_NS,
        shadow: false,
    };
    let seeded = Settings {
        seed: 0x9e37_79b9_7f4a_7c15,
        ..Settings::default()
    };
    let (hinted, before) = {
        let (shared, settings) = agent(pins.0.path(), &config, seeded);
        let mut blocks = BlockMaps::new(Arc::clone(&shared), attached());
        for net in &all {
            let block = BlockEntry {
                expires_ns: NEVER_NS,
                action: ACTION_DROP,
                ..BlockEntry::default()
            };
            blocks.put_block(*net, &block).unwrap();
            let allow = AllowEntry {
                expires_ns: NEVER_NS,
                ..AllowEntry::default()
            };
            blocks.put_allow(*net, &allow).unwrap();
        }
        let lists = ListMaps::new(Arc::clone(&shared));
        lists.replace(list, &order, all.clone()).unwrap();
        let hinted = shared.hinted();
        lists.abandon_change(list, nets(&["10.1.0.0/16", "192.0.2.1/32", "2001:db9::1/128"]), &all);
        (hinted, settings.get().unwrap())
    };
    let unmarked = Settings {
        hinted6: [0; 3],
        ..before
    };
    let (shared, settings) = agent(pins.0.path(), &config, unmarked);
    assert_ne!(before.hinted6, [0; 3]);
    assert_eq!(settings.get().unwrap().hinted6, before.hinted6);
    let mut blocks = BlockMaps::new(Arc::clone(&shared), attached());
    let lists = ListMaps::new(Arc::clone(&shared));
    assert_eq!(sorted(blocks.list_blocks().unwrap()), all);
    assert_eq!(sorted(blocks.list_allows().unwrap()), all);
    assert_eq!(sorted(lists.entries(list).unwrap()), all, "what was in force stays");
    assert_eq!(lists.in_use().unwrap()[0].order, order);
    assert_eq!(lists.met("10.1.2.3".parse().unwrap()).unwrap(), [list]);
    assert_eq!(lists.met("192.0.2.1".parse().unwrap()).unwrap(), []);
    for net in &all {
        assert!(blocks.get_block(*net).unwrap().is_some(), "{net}");
    }
    let usage = shared.usage();
    assert_eq!(usage["LIST4"].entries, 1);
    assert_eq!(usage["LIST_NET4"].entries, 1);
    assert_eq!(usage["BLOCK6"].entries, 1);
    // What the abandoned change hinted at may stay hinted, and costs time; all that was before is hinted.
    for (now, before) in shared.hinted().into_iter().zip(hinted) {
        assert!(now >= before, "{:?} {hinted:?}", shared.hinted());
    }
    for net in &all {
        blocks.delete_block(*net).unwrap().unwrap();
        assert!(blocks.delete_allow(*net).unwrap());
    }
    let change = lists.change(list, nets(&["192.0.2.1/32"]), all.clone()).unwrap();
    assert_eq!((change.added, change.removed), (1, 4));
    assert_eq!(sorted(lists.entries(list).unwrap()), nets(&["192.0.2.1/32"]));
    assert_eq!(shared.hinted()[..2], [0, 0]);
}
