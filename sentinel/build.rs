//! Embeds the kernel object, where it was built; an empty placeholder otherwise, so that building, checking and
//! linting the workspace need no BPF tools. Loading the placeholder is an error that names `cargo xtask build-ebpf`.

use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-env-changed=EBPF_OBJECT");
    let object = std::env::var_os("EBPF_OBJECT").map_or_else(default_object, PathBuf::from);
    if !object.exists() {
        // Cargo takes a watched file that is missing for a changed one, always; an empty one settles it. Where the
        // sources are read-only it cannot be made, and building goes on all the same.
        if let Some(parent) = object.parent() {
            let _ = std::fs::create_dir_all(parent);
        }
        let _ = std::fs::write(&object, []);
    }
    println!("cargo::rerun-if-changed={}", object.display());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    std::fs::write(out.join("sentinel-ebpf.o"), std::fs::read(&object).unwrap_or_default())
}

/// Where `cargo xtask build-ebpf` puts it.
fn default_object() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    Path::new(&package).join("../target/bpf/sentinel-ebpf.o")
}
