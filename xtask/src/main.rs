//! The work around `cargo build`.

mod ebpf;

use clap::Parser;

/// The work around `cargo build`.
#[derive(Parser)]
enum Verb {
    /// Builds the kernel object into `target/bpf`.
    BuildEbpf {
        /// Install what is missing without asking.
        #[arg(long)]
        yes: bool,
        /// With diagnostics.
        #[arg(long)]
        kernel_debug: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Verb::parse() {
        Verb::BuildEbpf { yes, kernel_debug } => {
            let object = ebpf::build(ebpf::Options { yes, kernel_debug })?;
            println!("{}", object.display());
        }
    }
    Ok(())
}
