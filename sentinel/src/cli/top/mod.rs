//! `sentinel top`: the agent at a glance, in a terminal.
//!
//! What is shown was told by the agent within the last seconds; where it no longer answers, that is what the screen says.

mod feed;
mod once;
mod paint;
mod state;
#[cfg(test)]
mod tests;
mod view;
mod words;

use super::Global;
use super::client::Client;
use super::decisions::{still_beside, still_covered};
use super::exit::Failure;
use super::now;
use super::output::{Format, escape_line};
use super::source::Source;
use crossterm::event::{Event, EventStream, KeyEventKind};
use feed::Snapshot;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use paint::Paint;
use ratatui::DefaultTerminal;
use reqwest::Method;
use state::{Effect, State};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

/// How often the agent is asked.
const EVERY: Duration = Duration::from_secs(1);
/// Longest that taking a decision back may take: it is read back from the kernel and durable by then.
const DEED: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print how it is now as plain text, and end
    #[arg(long)]
    once: bool,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<(), Failure> {
    let output = global.output();
    if !args.once {
        if output.format() != Format::Human {
            return Err(Failure::Usage(
                "`sentinel top` draws on a terminal; `--output json` and `raw` go with `--once`".into(),
            ));
        }
        if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
            return Err(Failure::Usage(
                "`sentinel top` needs a terminal to draw on and to read keys from; `sentinel top --once` prints how it is \
                 as plain text"
                    .into(),
            ));
        }
    }
    let config = global.load()?;
    let client = Source::live(&config)?;
    let mut state = State::new();
    if args.once {
        let told = client.wait(feed::look(&client, state.wish()))?;
        state.take(Ok(told), now());
        once::print(&output, &state, now());
        return Ok(());
    }
    let paint = Paint {
        color: output.colored(),
    };
    let mut screen = Screen::open()?;
    client.wait(watch(&client, &mut screen.0, state, paint))
}

/// The terminal, which is given back as it was, after a panic too.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> Result<Self, Failure> {
        Ok(Self(ratatui::try_init()?))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = ratatui::try_restore();
    }
}

type Look<'c> = LocalBoxFuture<'c, Result<Snapshot, Failure>>;
type Deed<'c> = LocalBoxFuture<'c, String>;

/// Draws, asks and listens until it is told to end.
async fn watch(client: &Client, screen: &mut DefaultTerminal, mut state: State, paint: Paint) -> Result<(), Failure> {
    let mut keys = EventStream::new();
    let mut timer = tokio::time::interval(EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut look: Option<Look<'_>> = None;
    let mut deed: Option<Deed<'_>> = None;
    loop {
        screen.draw(|frame| view::draw(frame, &mut state, paint, now()))?;
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            event = keys.next() => {
                let key = match event {
                    Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => key,
                    Some(Ok(_)) => continue,
                    // The terminal is gone.
                    Some(Err(_)) | None => return Ok(()),
                };
                state.note = None;
                match state.press(key) {
                    Effect::Nothing => {}
                    Effect::Quit => return Ok(()),
                    // `clear` would ask the terminal where its cursor is, and wait for the answer.
                    Effect::Redraw => {
                        let size = screen.size()?;
                        screen.resize(ratatui::layout::Rect::new(0, 0, size.width, size.height))?;
                    }
                    Effect::Look => look = Some(Box::pin(feed::look(client, state.wish()))),
                    Effect::Unblock(id, target) => deed = Some(Box::pin(unblock(client, id, target))),
                }
            }
            _ = timer.tick(), if look.is_none() => look = Some(Box::pin(feed::look(client, state.wish()))),
            told = over(&mut look), if look.is_some() => {
                look = None;
                state.take(told.map_err(|failure| words::line(&failure.message())), now());
            }
            said = over(&mut deed), if deed.is_some() => {
                deed = None;
                state.note = Some(said);
                look = Some(Box::pin(feed::look(client, state.wish())));
            }
        }
    }
}

/// What a future that is under way comes to; for ever where none is.
async fn over<T>(under_way: &mut Option<LocalBoxFuture<'_, T>>) -> T {
    match under_way {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Takes a decision back, and says what came of it in the agent's words.
async fn unblock(client: &Client, id: String, target: String) -> String {
    let path = format!("/decisions/{id}");
    let asked = tokio::time::timeout(DEED, client.ask(Method::DELETE, &path, &[]));
    match asked.await {
        Err(_) => format!("no answer about {target} within {} s: look at the list", DEED.as_secs()),
        Ok(Err(failure)) => words::line(&format!("{target}: {}", failure.message())),
        Ok(Ok(gone)) => {
            let probation = gone["deleted"][0]["watch_until"].as_str();
            let probation = probation.map_or_else(String::new, |until| format!(", on probation until {until}"));
            let mut said = format!("{target} is taken back{probation}");
            let still: Vec<String> = still_covered(&gone).into_iter().chain(still_beside(&gone)).collect();
            if !still.is_empty() {
                said = format!("{said}. {}", still.join(" "));
            }
            escape_line(&said)
        }
    }
}
