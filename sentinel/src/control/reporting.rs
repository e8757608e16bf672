//! Makes reports by itself, of whole days, weeks or months, and keeps the latest of them.

mod schedule;
#[cfg(test)]
mod tests;

use crate::config::{Mode, ReportsConfig};
use crate::files;
use crate::metrics::{Metrics, ReportLabels};
use crate::report::{Format, Report, kept};
use crate::store::{Record, Store, StoreError};
use crate::time;
use crate::types::{Acting, ChannelKind, Component, Condition, Content, Health, Message, Mint, Timestamp};
use jiff::tz::TimeZone;
use schedule::{Run, due, next_run};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Longest time until the clock is looked at again: it may be set meanwhile.
const LOOK: Duration = Duration::from_mins(1);
/// Time between two tries.
const AGAIN: Duration = Duration::from_mins(5);
/// Time between two tries while another report is made.
const BUSY: Duration = Duration::from_secs(10);
/// Time after the start until one that was missed is made up for, and between two formats of one: nobody waits for it.
const REST: Duration = Duration::from_secs(2);
/// Of a report: the owner's to write, the group's to read.
const REPORT_MODE: u32 = 0o640;

/// What the room needs of the others.
#[derive(Debug)]
pub struct ReportDeps {
    /// What happened.
    pub store: Store,
    /// What acting is worth.
    pub mode: Mode,
    /// Whether acting is stopped.
    pub acting: watch::Receiver<Arc<Acting>>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// Where it is told how that goes.
    pub health: watch::Sender<Arc<Health>>,
    /// Whether mail leads anywhere.
    pub mail: watch::Receiver<bool>,
}

/// The room.
#[derive(Debug)]
pub struct Reporting {
    config: ReportsConfig,
    zone: TimeZone,
    deps: ReportDeps,
    now: fn() -> Timestamp,
    /// The latest run that was made since the start, ns; 0 for none.
    made: AtomicI64,
}

/// Why there is no report yet.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// Somebody else's report is being made.
    #[error("another report is being made")]
    Busy,
    #[error("{0}")]
    Store(StoreError),
    #[error("{0}")]
    Report(#[from] crate::report::ReportError),
    #[error("it cannot be written: {0}")]
    Write(#[from] files::FileError),
    #[error("{}: {error}", path.display())]
    Directory { path: PathBuf, error: std::io::Error },
    #[error("the thread that wrote it ended: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::Busy,
            other => Self::Store(other),
        }
    }
}

impl Reporting {
    /// By these settings.
    pub fn new(config: ReportsConfig, deps: ReportDeps) -> Self {
        Self {
            zone: config.timezone.0.clone(),
            config,
            deps,
            now: time::wall_now,
            made: AtomicI64::new(0),
        }
    }

    /// Until cancelled. Without a schedule it does nothing.
    pub async fn run(self, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.make_each() => {}
        }
        cancel.cancelled().await;
    }

    async fn make_each(&self) {
        if next_run(&self.config, &self.zone, (self.now)()).is_none() {
            return;
        }
        tokio::time::sleep(REST).await;
        loop {
            let wait = match self.look().await {
                Ok(wait) => wait,
                Err(Failed::Busy) => BUSY,
                Err(error) => {
                    self.count("failed");
                    self.note(Condition::Degraded {
                        cause: format!("the scheduled report was not made: {error}"),
                        mend: mend(&error, &self.config.directory),
                    });
                    AGAIN
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Makes the report that is due, if one is. Returns how long there is nothing to do.
    async fn look(&self) -> Result<Duration, Failed> {
        let now = (self.now)();
        let Some(run) = due(&self.config, &self.zone, now) else {
            return Ok(LOOK);
        };
        // While the disk refuses, what was made is not read back yet.
        let made = Some(Timestamp(self.made.load(Ordering::Relaxed))).filter(|made| made.0 > 0);
        match self.deps.store.last_report().await?.max(made) {
            // What was before the first start is nobody's to make up for.
            None => {
                self.kept(vec![Record::Reported(run.at)]).await?;
                self.made.store(run.at.0, Ordering::Relaxed);
            }
            // Only the latest: of a month's absence there are not thirty reports. One of the future is a clock set back.
            Some(last) if last < run.at || last > now => {
                self.make(run).await?;
                self.made.store(run.at.0, Ordering::Relaxed);
            }
            Some(_) => {}
        }
        let next = next_run(&self.config, &self.zone, (self.now)());
        if let Some(next) = &next {
            self.note(Condition::Ok {
                detail: format!("{}; the next one is made at {}", self.config.schedule.as_str(), next.at),
            });
        }
        let wait = next.map_or(LOOK, |next| {
            Duration::from_nanos((next.at.0 - (self.now)().0).max(0) as u64)
        });
        Ok(wait.clamp(Duration::from_millis(10), LOOK))
    }

    /// Durable, or to be written as soon as the disk takes it.
    async fn kept(&self, records: Vec<Record>) -> Result<(), Failed> {
        Ok(self.deps.store.keep(records).await?)
    }

    async fn make(&self, run: Run) -> Result<(), Failed> {
        let (often, day) = (self.config.schedule.as_str(), run.first.to_string());
        let directory = &self.config.directory;
        make_directory(directory)?;
        let figures = self.deps.store.figures(run.since, run.until).await?;
        let mode = match self.deps.mode {
            Mode::Simulation => "simulation",
            Mode::Production => "production",
        };
        let stopped = self.deps.acting.borrow().stopped.clone();
        let report = Arc::new(Report::new(figures, mode, stopped).made_at((self.now)()));
        let mut files = Vec::new();
        for format in self.config.formats.iter().filter_map(|name| Format::named(name)) {
            if !files.is_empty() {
                tokio::time::sleep(REST).await;
            }
            let path = directory.join(kept::name(often, &day, format));
            let (report, to) = (Arc::clone(&report), path.clone());
            tokio::task::spawn_blocking(move || -> Result<(), Failed> {
                let bytes = report.write(format)?;
                files::write_as(&to, &bytes, REPORT_MODE)?;
                Ok(())
            })
            .await??;
            files.push(path);
        }
        let (keep, place) = (self.config.keep, directory.clone());
        match tokio::task::spawn_blocking(move || kept::prune(&place, keep)).await? {
            Ok(gone) if gone.is_empty() => {}
            Ok(gone) => tracing::info!(reports = ?gone, "old reports were removed"),
            Err(error) => tracing::warn!(%error, "old reports could not be removed"),
        }
        let names = files.iter().filter_map(|path| path.file_name()?.to_str());
        let line = Record::Audit {
            at: (self.now)(),
            actor: "sentinel".into(),
            verb: "report.made".into(),
            subject: names.collect::<Vec<_>>().join(", "),
            detail: format!("of {} to {}", run.since, run.until),
        };
        let mut records = vec![Record::Reported(run.at), line];
        if self.config.email && *self.deps.mail.borrow() {
            let now = (self.now)();
            records.push(Record::Message(Box::new(Message {
                id: Mint::Random.message(now),
                channel: ChannelKind::Email,
                at: now,
                due: now,
                content: Content::Report {
                    title: if run.first == run.last {
                        format!("Sentinel {often} report, {day}")
                    } else {
                        format!("Sentinel {often} report, {day} to {}", run.last)
                    },
                    files: files.clone(),
                },
            })));
        }
        // Durable with its line and its message, or made once more at the next start.
        self.kept(records).await?;
        self.count("made");
        tracing::info!(?files, "a scheduled report was made");
        Ok(())
    }

    fn count(&self, result: &'static str) {
        self.deps
            .metrics
            .keeping
            .reports
            .get_or_create(&ReportLabels { result })
            .inc();
    }

    fn note(&self, condition: Condition) {
        self.deps
            .health
            .send_if_modified(|health| Health::note(health, Component::Reports, condition));
    }
}

/// Reports tell whom this host talks to: its group may read them, others not.
fn make_directory(path: &Path) -> Result<(), Failed> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(path)
        .map_err(|error| Failed::Directory {
            path: path.into(),
            error,
        })
}

fn mend(error: &Failed, directory: &Path) -> String {
    match error {
        Failed::Write(_) | Failed::Directory { .. } => format!(
            "let Sentinel write to {}, free space on its disk, or set `reports.directory`; it is tried again every five minutes",
            directory.display()
        ),
        Failed::Store(_) => "see the state of `store`; it is tried again every five minutes".into(),
        _ => "it is tried again every five minutes; see the log, and report this".into(),
    }
}
