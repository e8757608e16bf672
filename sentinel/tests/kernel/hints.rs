//! Hints never hide an entry: whatever is listed, allowed and taken back, in whatever order, the kernel's verdict on any
//! address is that of a naive model that knows nothing of them. And they go again with what they told of.

use super::frames::{UDP, frame, udp};
use super::*;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sentinel::kernel::{BlockMaps, ListId, ListMaps, ListOrder};
use sentinel::respond::Enforcer;
use sentinel_common::entry::{ACTION_DROP, AllowEntry, BlockEntry, FLAG_SHADOW, NEVER_NS};
use sentinel_common::names::PROG_XDP;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const DROP: u32 = 1;

/// A sequence that its seed determines (xorshift, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }

    /// An address of a few crowded places, so that entries meet.
    fn address(&mut self) -> IpAddr {
        if self.roll(2) == 0 {
            let place = self.pick(&[0xc633_6400_u32, 0xc633_6500, 0xc633_6700, 0xc634_0000, 0x0a00_0000]);
            IpAddr::V4(Ipv4Addr::from(place | self.roll(8) as u32))
        } else {
            let place = self.pick(&[
                0x2001_0db8_0001_0000_u64,
                0x2001_0db8_0001_0001,
                0x2001_0db8_0002_0000,
                0x2001_0db9_0000_0000,
                0x2a00_0000_0000_0000,
            ]);
            IpAddr::V6(Ipv6Addr::from(u128::from(place) << 64 | self.roll(4) as u128))
        }
    }

    fn net(&mut self) -> IpNet {
        match self.address() {
            IpAddr::V4(address) => {
                let len = self.pick(&[0, 5, 8, 15, 16, 22, 23, 24, 25, 30, 31, 32, 32, 32]);
                Ipv4Net::new(address, len).unwrap().trunc().into()
            }
            IpAddr::V6(address) => {
                let len = self.pick(&[0, 3, 12, 15, 16, 20, 31, 32, 33, 47, 48, 49, 64, 127, 128, 128, 128]);
                Ipv6Net::new(address, len).unwrap().trunc().into()
            }
        }
    }

    fn nets(&mut self, up_to: usize) -> Vec<IpNet> {
        (0..self.roll(up_to)).map(|_| self.net()).collect()
    }
}

#[derive(Clone)]
struct List {
    order: ListOrder,
    nets: BTreeSet<IpNet>,
}

/// What should be in the kernel.
#[derive(Default)]
struct Model {
    /// Whether each only counts.
    blocks: BTreeMap<IpNet, bool>,
    allows: BTreeSet<IpNet>,
    lists: BTreeMap<u8, List>,
}

impl Model {
    /// The counter that gives the reason of the verdict on a packet from `address`; none for a plain pass.
    fn verdict(&self, address: IpAddr) -> Option<&'static str> {
        let covers = |nets: &BTreeSet<IpNet>| nets.iter().any(|net| net.contains(&address));
        if covers(&self.allows) {
            return Some("pass_allowed");
        }
        let exact = self.blocks.get(&IpNet::from(address)).copied();
        if exact == Some(false) {
            return Some("drop_exact");
        }
        if self
            .blocks
            .iter()
            .any(|(net, shadow)| !shadow && net.contains(&address))
        {
            return Some("drop_prefix");
        }
        let on: Vec<_> = self
            .lists
            .values()
            .filter(|list| list.order.expires_ns == NEVER_NS && covers(&list.nets))
            .collect();
        if on.iter().any(|list| !list.order.shadow) {
            return Some("drop_list");
        }
        (!on.is_empty() || exact == Some(true)).then_some("would_drop")
    }

    fn met(&self, address: IpAddr) -> Vec<u8> {
        let on = |list: &List| list.nets.iter().any(|net| net.contains(&address));
        self.lists
            .iter()
            .filter(|(_, list)| on(list))
            .map(|(number, _)| *number)
            .collect()
    }
}

struct Rig {
    kernel: Kernel,
    blocks: BlockMaps,
    lists: ListMaps,
    model: Model,
}

fn id(number: u8) -> ListId {
    ListId::new(number).unwrap()
}

impl Rig {
    fn change(&mut self, dice: &mut Dice) {
        let block = BlockEntry {
            expires_ns: NEVER_NS,
            action: ACTION_DROP,
            ..BlockEntry::default()
        };
        let allow = AllowEntry {
            expires_ns: NEVER_NS,
            ..AllowEntry::default()
        };
        let list = dice.pick(&[0, 1, 30, 31]);
        match dice.roll(12) {
            0..3 => {
                let net = dice.net();
                // Prefixes all enforce: the kernel passes by a few that only count, not by any number.
                let shadow = net.prefix_len() == net.max_prefix_len() && dice.roll(3) == 0;
                let flags = if shadow { FLAG_SHADOW } else { 0 };
                self.blocks.put_block(net, &BlockEntry { flags, ..block }).unwrap();
                self.model.blocks.insert(net, shadow);
            }
            3..6 => {
                for net in some(dice, self.model.blocks.keys()) {
                    assert!(self.blocks.delete_block(net).unwrap().is_some(), "{net}");
                    self.model.blocks.remove(&net);
                }
            }
            6 => {
                let net = dice.net();
                self.blocks.put_allow(net, &allow).unwrap();
                self.model.allows.insert(net);
            }
            7 => {
                for net in some(dice, &self.model.allows) {
                    assert!(self.blocks.delete_allow(net).unwrap(), "{net}");
                    self.model.allows.remove(&net);
                }
            }
            8 | 9 => {
                let order = ListOrder {
                    decision: [list + 1; 16],
                    expires_ns: dice.pick(&[NEVER_NS, NEVER_NS, NEVER_NS, 1]),
                    shadow: dice.roll(4) == 0,
                };
                let nets = dice.nets(40);
                let before = self
                    .model
                    .lists
                    .get(&list)
                    .map(|list| list.nets.clone())
                    .unwrap_or_default();
                let nets: BTreeSet<_> = nets.into_iter().collect();
                let twice = nets.iter().chain(&nets).copied();
                let change = self.lists.replace(id(list), &order, twice).unwrap();
                assert_eq!(change.added, nets.difference(&before).count() as u64);
                assert_eq!(change.removed, before.difference(&nets).count() as u64);
                assert_eq!(change.kept, before.intersection(&nets).count() as u64);
                self.model.lists.insert(list, List { order, nets });
            }
            10 => {
                let (add, remove) = (dice.nets(10), dice.nets(10));
                let outcome = self.lists.change(id(list), add.clone(), remove.clone());
                let Some(known) = self.model.lists.get_mut(&list) else {
                    assert!(outcome.unwrap_err().to_string().contains("not in use"));
                    return;
                };
                outcome.unwrap();
                for net in remove {
                    known.nets.remove(&net);
                }
                known.nets.extend(add);
            }
            _ => {
                self.lists.remove(id(list)).unwrap();
                self.model.lists.remove(&list);
            }
        }
    }

    fn check(&mut self, address: IpAddr) {
        let to = if address.is_ipv4() { "10.9.9.9" } else { "fd00::9" };
        let frame = frame(&address.to_string(), to, &udp(1, 2, b""), UDP);
        let before = self.kernel.test_counters().unwrap();
        let code = self.kernel.test_run(PROG_XDP, &frame, 1).unwrap().code;
        let mut moved = moved(&before, &self.kernel.test_counters().unwrap());
        let expected = self.model.verdict(address);
        assert_eq!(
            code == DROP,
            expected.is_some_and(|reason| reason.starts_with("drop")),
            "{address}"
        );
        moved.retain(|label, _| {
            ["pass_allowed", "drop_exact", "drop_prefix", "drop_list", "would_drop"].contains(label)
        });
        assert_eq!(moved.into_keys().next(), expected, "{address}");
        let met: Vec<_> = self
            .lists
            .met(address)
            .unwrap()
            .into_iter()
            .map(ListId::number)
            .collect();
        assert_eq!(met, self.model.met(address), "{address}");
    }

    /// Everything that is listed is read back, and nothing else.
    fn read_back(&self) {
        let blocks: BTreeSet<_> = self
            .blocks
            .list_blocks()
            .unwrap()
            .into_iter()
            .map(|(net, _)| net)
            .collect();
        assert_eq!(blocks, self.model.blocks.keys().copied().collect());
        let allows: BTreeSet<_> = self
            .blocks
            .list_allows()
            .unwrap()
            .into_iter()
            .map(|(net, _)| net)
            .collect();
        assert_eq!(allows, self.model.allows);
        let in_use: Vec<_> = self.lists.in_use().unwrap();
        let orders: BTreeMap<_, _> = in_use.iter().map(|one| (one.list.number(), one.order)).collect();
        let expected: BTreeMap<_, _> = self
            .model
            .lists
            .iter()
            .map(|(number, list)| (*number, list.order))
            .collect();
        assert_eq!(orders, expected);
        for (number, list) in &self.model.lists {
            let entries: BTreeSet<_> = self
                .lists
                .entries(id(*number))
                .unwrap()
                .into_iter()
                .map(|(net, _)| net)
                .collect();
            assert_eq!(entries, list.nets, "list {number}");
        }
    }
}

/// Some of a set.
fn some<'a>(dice: &mut Dice, of: impl IntoIterator<Item = &'a IpNet>) -> Vec<IpNet> {
    of.into_iter().copied().filter(|_| dice.roll(3) == 0).collect()
}

#[test]
fn whatever_is_listed_the_verdict_is_that_of_a_model_without_hints() {
    let config = KernelConfig {
        // So small that buckets overflow, into the prefixes.
        list_capacity: 64,
        list6_capacity: 64,
        list_net_capacity: 512,
        ..config()
    };
    let seed = std::env::var("SENTINEL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| sentinel::time::boot_now().0 | 1);
    println!("SENTINEL_SEED={seed} repeats this");
    let mut dice = Dice(seed);
    for _ in 0..2 {
        let Some(kernel) = kernel(&config, Mode::Production) else {
            return;
        };
        let (blocks, lists) = (kernel.blocks(), kernel.lists());
        let mut rig = Rig {
            kernel,
            blocks,
            lists,
            model: Model::default(),
        };
        for _ in 0..120 {
            rig.change(&mut dice);
            for _ in 0..12 {
                rig.check(dice.address());
            }
        }
        rig.read_back();
        for net in std::mem::take(&mut rig.model.blocks).into_keys() {
            rig.blocks.delete_block(net).unwrap();
        }
        for net in std::mem::take(&mut rig.model.allows) {
            rig.blocks.delete_allow(net).unwrap();
        }
        for list in std::mem::take(&mut rig.model.lists).into_keys() {
            rig.lists.remove(id(list)).unwrap();
        }
        rig.read_back();
        assert_eq!(
            rig.kernel.test_hinted(),
            [0; 4],
            "nothing is listed, and packets need not ask"
        );
        for (map, usage) in rig.kernel.counters().read().unwrap().1 {
            assert!(usage.entries == 0 || map == "FLOWS", "{map}: {usage:?}");
        }
    }
}

#[test]
fn each_kind_of_entry_sets_its_hint_and_takes_it_back() {
    let Some(kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let (mut blocks, lists) = (kernel.blocks(), kernel.lists());
    let all4 = 1 << 24;
    for (net, cells) in [
        ("198.51.100.7/32", 1),
        ("198.51.100.0/24", 1),
        ("198.51.100.0/25", 1),
        ("198.51.96.0/20", 16),
        ("10.0.0.0/8", 65_536),
        ("0.0.0.0/0", all4),
        ("2001:db8::7/128", 1),
        ("2001:db8::/48", 1),
        ("2001:db8::/47", 1),
        ("2001:db8::/32", 1),
        ("2001:db8::/31", 1),
        ("fc00::/7", 512),
        ("::/0", 65_536),
    ] {
        let net: IpNet = net.parse().unwrap();
        let allow = AllowEntry {
            expires_ns: NEVER_NS,
            ..AllowEntry::default()
        };
        blocks.put_allow(net, &allow).unwrap();
        assert_eq!(kernel.test_hinted(), [cells, 0, 0, 0], "{net}");
        let block = BlockEntry {
            expires_ns: NEVER_NS,
            action: ACTION_DROP,
            ..BlockEntry::default()
        };
        blocks.put_block(net, &block).unwrap();
        assert_eq!(kernel.test_hinted(), [cells, cells, 0, 0], "{net}");
        assert!(blocks.delete_allow(net).unwrap());
        assert_eq!(kernel.test_hinted(), [0, cells, 0, 0], "{net}");
        assert!(blocks.get_block(net).unwrap().is_some());
        blocks.delete_block(net).unwrap().unwrap();
        let order = ListOrder {
            decision: [1; 16],
            expires_ns: NEVER_NS,
            shadow: false,
        };
        lists.replace(id(3), &order, [net]).unwrap();
        let exact = net.prefix_len() == net.max_prefix_len();
        let expected = if exact { [0, 0, cells, 0] } else { [0, 0, 0, cells] };
        assert_eq!(kernel.test_hinted(), expected, "{net}");
        lists.remove(id(3)).unwrap();
        assert_eq!(kernel.test_hinted(), [0; 4], "{net}");
    }
}
