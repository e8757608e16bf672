//! Arguments to one command, and its outcome to text and exit code.
//!
//! In: the command line. Out: what people and scripts read on stdout; logs and complaints go to stderr.
//! Invariant: whatever came from the network is printed with its control characters escaped. Deliberately elsewhere:
//! everything the commands do; this room asks the agent over its unix socket, or reads the database when none runs.

mod acting;
mod actions;
mod alerts;
mod allowlist;
mod audit;
mod check;
mod client;
mod decisions;
mod detach;
mod doctor;
mod exit;
mod explain;
mod fleet;
mod generate;
mod health;
mod intel;
mod learn;
mod log;
mod migrate;
mod model;
mod notifications;
mod output;
mod pages;
mod progress;
mod reload;
mod replay;
mod report;
mod run;
mod simulation;
mod source;
mod stored;
mod table;
mod token;
mod top;
mod verify;

use crate::config::{self, Config, Origins};
use crate::time::wall_now as now;
use crate::types::Timestamp;
use clap::{ArgAction, Args, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};
use exit::Failure;
use output::{Format, Output};
use std::path::PathBuf;
use std::process::ExitCode;

/// Watches the network, understands what it sees, decides and acts: explainably and reversibly.
#[derive(Debug, Parser)]
#[command(
    name = "sentinel",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command knows.
#[derive(Args, Clone, Debug)]
struct Global {
    /// Settings file; repeatable, later wins [default: /etc/sentinel/settings.yml, else config/settings.yml]
    #[arg(short, long = "config", value_name = "FILE", global = true)]
    config: Vec<PathBuf>,
    /// How results are printed
    #[arg(short, long, value_enum, default_value_t = Format::Human, global = true)]
    output: Format,
    /// Colours
    #[arg(long, value_name = "WHEN", default_value_t = ColorChoice::Auto, global = true)]
    color: ColorChoice,
    /// Say more on stderr; twice for more still (`RUST_LOG` says it exactly)
    #[arg(short, long, action = ArgAction::Count, global = true)]
    verbose: u8,
}

impl Global {
    fn output(&self) -> Output {
        Output::new(self.output, self.color)
    }

    /// The files to read: those named, else the default one that exists.
    fn files(&self) -> Vec<PathBuf> {
        if self.config.is_empty() {
            config::default_files()
        } else {
            self.config.clone()
        }
    }

    /// The configuration, for whoever talks to the agent: secrets that only it may read are left out.
    fn load(&self) -> Result<Config, Failure> {
        let files = self.files();
        self.trusted(&files)?;
        config::load_for_client(&files, environment()).map_err(Failure::Config)
    }

    /// The configuration of these files, and where its values came from.
    fn load_with_origins(&self, files: &[PathBuf]) -> Result<(Config, Origins), Failure> {
        self.trusted(files)?;
        config::load_with_origins(files, environment()).map_err(Failure::Config)
    }

    /// A file that nobody named is only believed where nobody else can have laid it there.
    fn trusted(&self, files: &[PathBuf]) -> Result<(), Failure> {
        if !self.config.is_empty() {
            return Ok(());
        }
        // Whoever called sudo may be believed as much as root.
        let caller = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
        let owners: Vec<u32> = [Some(nix::unistd::geteuid().as_raw()), caller]
            .into_iter()
            .flatten()
            .collect();
        let problems: Vec<_> = files.iter().filter_map(|f| config::distrust(f, &owners)).collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Failure::Config(problems))
        }
    }
}

/// Variables that are not UTF-8 cannot be ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon: watches, decides and acts until it is told to stop
    Run,
    /// Validates the configuration: every problem, each with file, line and key; opens nothing
    #[command(short_flag = 't')]
    Check,
    /// Whether this machine can run the agent: pass, warn or fail, each with the mend
    Doctor,
    /// Whether the running agent judges packets, and what works with less than it should; exit 1 where not
    Health,
    /// A capture through the same pipeline; touches neither kernel nor live database
    Replay(replay::Args),
    /// From captures to tables, from tables to models
    #[command(subcommand)]
    Model(model::Command),
    /// What is blocked, limited or redirected, by hand too
    #[command(subcommand)]
    Decisions(decisions::Command),
    /// What the detectors said
    #[command(subcommand)]
    Alerts(alerts::Command),
    /// What was done about it
    #[command(subcommand)]
    Actions(actions::Command),
    /// What is never touched
    #[command(subcommand)]
    Allowlist(allowlist::Command),
    /// Who may use the API and the dashboard
    #[command(subcommand)]
    Token(token::Command),
    /// The agent at a glance, live in this terminal
    Top(top::Args),
    /// Has the running agent read its settings anew: all of them are checked, then they hold; no decision ends
    Reload,
    /// A link that logs one browser in to the dashboard, once
    Login,
    /// Everything becomes simulation at once, until resume-acting
    StopActing(acting::Acting),
    /// What stop-acting held back is in force again
    ResumeActing(acting::Acting),
    /// What production would have done
    #[command(subcommand)]
    Simulation(simulation::Command),
    /// What happened in a period, as HTML, PDF or JSON
    Report(report::Args),
    /// Who did what, and whether that record is whole
    #[command(subcommand)]
    Audit(audit::Command),
    /// The thresholds of this network, from its own benign flows
    #[command(subcommand)]
    Learn(learn::Command),
    /// What the world outside knows of an address, and how those stand who are asked
    #[command(subcommand)]
    Intel(intel::Command),
    /// Who is told of alerts, and whether it comes through
    #[command(subcommand)]
    Notifications(notifications::Command),
    /// The other sentinels, and what is told between them
    #[command(subcommand)]
    Fleet(fleet::Command),
    /// Why: the evidence behind an alert
    #[command(subcommand)]
    Explain(explain::Command),
    /// Comes to a decision again from what it followed from
    #[command(subcommand)]
    Verify(verify::Command),
    /// Bans and allowlists of fail2ban and CrowdSec: shown, and with --apply carried over
    #[command(subcommand)]
    Migrate(migrate::Command),
    /// Stops the agent and removes what it left in the kernel
    Detach(detach::Args),
    /// Prints a completion script
    Completions(generate::Completions),
    /// Writes the manual pages
    #[command(hide = true)]
    Man(generate::Man),
}

/// The whole program.
pub fn main() -> ExitCode {
    // A reader that goes away (`| head`) ends us quietly instead of with a panic in `println!`.
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            let usage = error.use_stderr();
            let _ = error.print();
            return ExitCode::from(if usage { exit::USAGE } else { 0 });
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(exit::USAGE);
        }
    };
    log::init(
        cli.global.verbose,
        cli.global.color,
        matches!(cli.command, Command::Check),
        matches!(cli.command, Command::Run) && cli.global.output == Format::Json,
    );
    match dispatch(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&cli.global.output()),
    }
}

fn dispatch(cli: &Cli) -> Result<(), Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::Run => run::run(global),
        Command::Check => check::run(global),
        Command::Doctor => doctor::run(global),
        Command::Health => health::run(global),
        Command::Replay(args) => replay::run(global, args),
        Command::Model(command) => model::run(global, command),
        Command::Decisions(command) => decisions::run(global, command),
        Command::Alerts(command) => alerts::run(global, command),
        Command::Actions(command) => actions::run(global, command),
        Command::Allowlist(command) => allowlist::run(global, command),
        Command::Token(command) => token::run(global, command),
        Command::Top(args) => top::run(global, args),
        Command::Reload => reload::run(global),
        Command::Login => token::link(global),
        Command::StopActing(args) => acting::run(global, args, false),
        Command::ResumeActing(args) => acting::run(global, args, true),
        Command::Simulation(command) => simulation::run(global, command),
        Command::Report(args) => report::run(global, args),
        Command::Audit(command) => audit::run(global, command),
        Command::Learn(command) => learn::run(global, *command),
        Command::Intel(command) => intel::run(global, *command),
        Command::Notifications(command) => notifications::run(global, command),
        Command::Fleet(command) => fleet::run(global, *command),
        Command::Explain(command) => explain::run(global, command),
        Command::Verify(command) => verify::run(global, command),
        Command::Migrate(command) => migrate::run(global, command),
        Command::Detach(args) => detach::run(global, args),
        Command::Completions(args) => {
            generate::completions(&mut Cli::command(), args);
            Ok(())
        }
        Command::Man(args) => generate::man(Cli::command(), args),
    }
}

/// The instant that long ago.
fn ago(time: std::time::Duration) -> Timestamp {
    Timestamp(now().0.saturating_sub(time.as_nanos() as i64))
}

/// Time left until `end` in its two largest units, such as `3h59m`.
fn remaining(now: Timestamp, end: Timestamp) -> String {
    let left = (end.0 - now.0).max(0) / 1_000_000_000;
    let (days, hours, minutes, seconds) = (left / 86_400, left / 3_600 % 24, left / 60 % 60, left % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{seconds}s"),
        (0, ..) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

/// A duration argument: `30s`, `4h`, `1d`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    config::parse_duration(text).and_then(|time| {
        if time.is_zero() {
            Err("must be longer than zero".into())
        } else {
            Ok(time)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn time_left_in_two_units() {
        let left = |seconds: i64| remaining(Timestamp(0), Timestamp(seconds * 1_000_000_000));
        let texts = [-5, 0, 59, 61, 3_600, 14_399, 90_061].map(left);
        assert_eq!(texts, ["0s", "0s", "59s", "1m1s", "1h0m", "3h59m", "1d1h"]);
    }
}
