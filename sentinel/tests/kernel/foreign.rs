//! Pins that the agent must not take for its own: another layout's, and other people's.

use super::life::{Bpffs, bpftool, pinned};
use super::pair::{Pair, block, far};
use super::*;
use sentinel::kernel::{leftovers, on_xdp, unpin};
use sentinel::respond::Enforcer;
use sentinel_common::names as n;
use std::path::Path;

/// A map that no agent made.
fn somebodys_map(pin: &Path) {
    let pin = pin.display().to_string();
    let shape = "type hash key 4 value 4 entries 1 name somebodys";
    let args: Vec<&str> = ["map", "create", &pin].into_iter().chain(shape.split(' ')).collect();
    bpftool(&args);
}

#[test]
fn maps_of_another_layout_and_foreign_pins_are_refused_and_left_alone() {
    if kernel(&config(), Mode::Simulation).is_none() {
        return;
    }
    let (pair, bpffs) = (Pair::new(), Bpffs::new());
    let config = pinned(&bpffs);
    let text = |path: &Path| path.display().to_string();
    let start = || {
        let mut kernel = Kernel::load(&config, Mode::Production)?;
        Pair::inside(&pair.near, || kernel.attach(&["veth0".into()]))?;
        Ok::<_, KernelError>(kernel)
    };
    let agent = start().unwrap();
    agent.blocks().put_block(far(), &block()).unwrap();
    drop(agent);
    let found = leftovers(&bpffs.pins()).unwrap();
    assert!(
        found.fits && found.made_by.is_some() && found.interfaces.len() == 1,
        "{found:?}"
    );
    assert!(
        found.maps.contains(&n::MAP_BLOCK4.to_owned()) && found.foreign.is_empty(),
        "{found:?}"
    );
    assert!(!found.maps.contains(&n::MAP_EVENTS.to_owned()), "{found:?}");

    // Another layout: the first byte of the layout in the header is changed.
    let header = bpffs.pins().join("maps/HEADER");
    let made = sentinel_common::pin::PinHeader::new("0.0.7");
    let mut bytes: Vec<String> = Vec::new();
    bytes.extend(made.magic.to_ne_bytes().map(|b| b.to_string()));
    bytes.extend((made.layout ^ 1).to_ne_bytes().map(|b| b.to_string()));
    bytes.extend(made.policy.to_ne_bytes().map(|b| b.to_string()));
    bytes.extend([0u8; 68].map(|b| b.to_string()));
    bytes.extend(made.agent.map(|b| b.to_string()));
    let mut update = vec!["map", "update", "pinned"];
    let path = text(&header);
    update.extend([path.as_str(), "key", "0", "0", "0", "0", "value"]);
    update.extend(bytes.iter().map(String::as_str));
    bpftool(&update);
    let error = start().err().unwrap();
    assert!(matches!(error, KernelError::PinnedLayout { .. }), "{error}");
    let said = error.to_string();
    for part in ["0.0.7", env!("CARGO_PKG_VERSION"), "layout", "sentinel detach"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!leftovers(&bpffs.pins()).unwrap().fits);
    assert!(!pair.ping("10.99.0.1"), "a refused start changed what is in force");

    // The way out that leaves no gap: forget the maps, keep the programs.
    assert!(unpin(&bpffs.pins(), false).unwrap());
    assert!(!pair.ping("10.99.0.1"), "the old programs still judge by the old maps");
    let agent = {
        let mut kernel = Kernel::load(&config, Mode::Production).unwrap();
        kernel.blocks().put_block(far(), &block()).unwrap();
        Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
        kernel
    };
    assert!(!pair.ping("10.99.0.1"));
    drop(agent);

    // A foreign map beside ours is nobody's business of ours; one in the place of ours is refused.
    let other = bpffs.pins().join("maps/other");
    somebodys_map(&other);
    drop(start().unwrap());
    assert_eq!(leftovers(&bpffs.pins()).unwrap().foreign, std::slice::from_ref(&other));
    let allow6 = bpffs.pins().join("maps/ALLOW6");
    std::fs::remove_file(&allow6).unwrap();
    somebodys_map(&allow6);
    let error = start().err().unwrap();
    assert!(matches!(error, KernelError::PinnedLayout { .. }), "{error}");
    assert!(error.to_string().contains("ALLOW6"), "{error}");

    // A directory is no map, though the kernel says of it that it may not be opened.
    std::fs::remove_file(&allow6).unwrap();
    std::fs::create_dir(&allow6).unwrap();
    let error = start().err().unwrap();
    assert!(matches!(error, KernelError::ForeignPins { .. }), "{error}");
    assert!(leftovers(&bpffs.pins()).unwrap().foreign.contains(&allow6));

    assert!(unpin(&bpffs.pins(), true).unwrap());
    assert!(
        other.exists() && allow6.exists() && !header.exists(),
        "{:?}",
        leftovers(&bpffs.pins()).unwrap()
    );
    std::fs::remove_dir(&allow6).unwrap();
    eventually("the programs to be detached", || pair.ping("10.99.0.1"));

    // Nor is a program one, which the kernel lets answer where it was asked for a map.
    drop(start().unwrap());
    std::fs::remove_file(&allow6).unwrap();
    let program = Pair::inside(&pair.near, || on_xdp("veth0"))[0].id.to_string();
    bpftool(&["prog", "pin", "id", &program, &text(&allow6)]);
    let error = start().err().unwrap();
    assert!(matches!(error, KernelError::ForeignPins { .. }), "{error}");
    assert!(error.to_string().contains("bpf-prog"), "{error}");
    assert!(leftovers(&bpffs.pins()).unwrap().foreign.contains(&allow6));
    assert!(unpin(&bpffs.pins(), true).unwrap());
    assert!(allow6.exists(), "a program of somebody's is not ours to remove");
    std::fs::remove_file(&allow6).unwrap();

    // Maps without a header were never an agent's.
    somebodys_map(&allow6);
    let error = start().err().unwrap();
    assert!(matches!(error, KernelError::ForeignPins { .. }), "{error}");
    assert!(error.to_string().contains("kernel.pin_path"), "{error}");
    assert!(!unpin(&bpffs.pins(), true).unwrap());
    assert!(other.exists() && allow6.exists());
}
