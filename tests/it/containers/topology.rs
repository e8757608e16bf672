//! Containers on networks at random.

use anyhow::Result;
use serde_json::Value;
use std::net::IpAddr;
use testbed::engine::{Engine, IMAGE};

/// `SplitMix64` (Steele, Lea, Flood 2014).
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What was made.
pub(crate) struct Topology {
    pub(crate) container: String,
    pub(crate) told: String,
    neighbours: Vec<String>,
    networks: Vec<String>,
}

/// One connection as it is asked for.
struct Wish {
    network: String,
    options: Vec<String>,
}

/// Makes one: one to four networks (the default bridge, with the engine's or with own subnets, with IPv6 or not), aliases,
/// fixed addresses, a fixed hardware address, published ports, links, and neighbours that hold addresses below.
pub(crate) fn random(engine: &Engine, mut rng: Rng) -> Result<Topology> {
    let rng = &mut rng;
    let mut made = Topology {
        container: String::new(),
        told: String::new(),
        neighbours: Vec::new(),
        networks: Vec::new(),
    };
    let mut wishes = Vec::new();
    let count = 1 + rng.below(4);
    let default = rng.one_in(3).then(|| rng.below(count));
    for at in 0..count {
        let wish = if default == Some(at) {
            neighbour(engine, rng, &mut made, "bridge")?;
            Wish {
                network: "bridge".to_owned(),
                options: Vec::new(),
            }
        } else {
            network(engine, rng, &mut made, at)?
        };
        wishes.push(wish);
    }
    let mut args: Vec<String> = ["run", "-d", "--stop-timeout", "0", "--network", &wishes[0].network]
        .map(str::to_owned)
        .into();
    args.extend(
        wishes[0]
            .options
            .iter()
            .map(|option| option.replace("--alias", "--network-alias")),
    );
    if rng.one_in(2) {
        args.extend([
            "--mac-address".to_owned(),
            format!("02:aa:bb:cc:dd:{:02x}", rng.below(256)),
        ]);
    }
    if rng.one_in(3) {
        args.extend(["-p".to_owned(), format!("127.0.0.1:{}:80", 20_000 + rng.below(10_000))]);
    }
    if rng.one_in(3) {
        args.extend(["--hostname".to_owned(), "named".to_owned()]);
    }
    args.extend([IMAGE, "sleep", "3600"].map(str::to_owned));
    made.told = args.join(" ");
    made.container = docker(engine, &args)?;
    for wish in &wishes[1..] {
        let mut args: Vec<String> = ["network", "connect"].map(str::to_owned).into();
        args.extend(wish.options.iter().cloned());
        args.extend([wish.network.clone(), made.container.clone()]);
        made.told = format!("{}; {}", made.told, args.join(" "));
        docker(engine, &args)?;
    }
    Ok(made)
}

fn docker(engine: &Engine, args: &[String]) -> Result<String> {
    engine.docker(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn neighbour(engine: &Engine, rng: &mut Rng, made: &mut Topology, network: &str) -> Result<Option<String>> {
    if rng.one_in(2) {
        return Ok(None);
    }
    let args = [
        "run",
        "-d",
        "--stop-timeout",
        "0",
        "--network",
        network,
        IMAGE,
        "sleep",
        "3600",
    ];
    let id = engine.docker(&args)?;
    made.neighbours.push(id.clone());
    Ok(Some(id))
}

fn network(engine: &Engine, rng: &mut Rng, made: &mut Topology, at: u64) -> Result<Wish> {
    let name = format!("net{at}-{:08x}", rng.next() as u32);
    let (own, six) = (!rng.one_in(4), rng.one_in(2));
    let mut args: Vec<String> = ["network", "create"].map(str::to_owned).into();
    if own {
        args.extend(["--subnet".to_owned(), format!("10.{}.{at}.0/24", 64 + rng.below(64))]);
    }
    let prefix = format!("fd{:02x}:{:x}:{at}", rng.below(256), rng.below(0xffff));
    if six {
        args.extend(["--ipv6".to_owned(), "--subnet".to_owned(), format!("{prefix}::/64")]);
    }
    if rng.one_in(6) {
        args.push("--internal".to_owned());
    }
    args.push(name.clone());
    let subnet = args.iter().find(|arg| arg.starts_with("10.")).cloned();
    docker(engine, &args)?;
    made.networks.push(name.clone());
    let beside = neighbour(engine, rng, made, &name)?;
    let mut options = Vec::new();
    for alias in 0..rng.below(3) {
        options.extend(["--alias".to_owned(), format!("alias{alias}")]);
    }
    if let Some(subnet) = subnet.filter(|_| rng.one_in(2)) {
        let fixed = subnet.replace("0/24", &(50 + rng.below(150)).to_string());
        options.extend(["--ip".to_owned(), fixed]);
    }
    if six && rng.one_in(2) {
        options.extend([
            "--ip6".to_owned(),
            format!("{prefix}::{:x}", 0x1000 + rng.below(0x1000)),
        ]);
    }
    if let Some(beside) = beside.filter(|_| rng.one_in(4)) {
        options.extend(["--link".to_owned(), format!("{beside}:beside")]);
    }
    Ok(Wish { network: name, options })
}

impl Topology {
    /// One of the container's addresses.
    pub(crate) fn address(found: &Value, pick: u64) -> IpAddr {
        let networks = found["NetworkSettings"]["Networks"].as_object().expect("networks");
        let addresses: Vec<IpAddr> = networks
            .values()
            .flat_map(|endpoint| ["IPAddress", "GlobalIPv6Address"].map(|key| &endpoint[key]))
            .filter_map(|text| text.as_str()?.parse().ok())
            .collect();
        addresses[pick as usize % addresses.len()]
    }

    /// Takes it all away again.
    pub(crate) fn remove(self, engine: &Engine) -> Result<()> {
        let ids: Vec<&str> = self
            .neighbours
            .iter()
            .chain([&self.container])
            .map(String::as_str)
            .collect();
        engine.docker(&[&["rm", "-f"], ids.as_slice()].concat())?;
        let names: Vec<&str> = self.networks.iter().map(String::as_str).collect();
        if !names.is_empty() {
            engine.docker(&[&["network", "rm"], names.as_slice()].concat())?;
        }
        Ok(())
    }
}
