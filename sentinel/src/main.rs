//! The one binary; `sentinel::cli` is the program.

fn main() -> std::process::ExitCode {
    sentinel::cli::main()
}
