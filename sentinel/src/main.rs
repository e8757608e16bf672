//! The one binary; `sentinel::cli` is the program.

/// Gives back what a flood took; the C library's allocator keeps most of it in the arenas of its threads. Its settings are in
/// `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    sentinel::cli::main()
}
