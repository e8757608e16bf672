//! A capture through the whole house, without kernel, root or database.
//!
//! In: a capture file and the configuration. Out: `eve.json`, `decisions.json`, `summary.json` and a [`Summary`].
//! Invariant: the same parser, update rule, table, detectors and judge as live; the time is the capture's; the same file
//! and configuration give the same bytes. Deliberately elsewhere: the exit code (`cli`).
//!
//! A capture has no inside and no outside. Of two hosts the one seen to send first stands for the far side, and the
//! gate looks at the source of every packet, whichever way it goes. In production mode blocked packets are dropped
//! from the replay just as the kernel would have dropped them; in simulation they are counted and go on.

mod features;
mod gate;
#[cfg(test)]
mod hostile;
mod pace;
mod pipeline;
mod reenact;
mod summary;

pub use features::{FeatureReplay, FeatureSummary};
pub use gate::ModelGate;
pub use pipeline::Pipeline;
pub use reenact::reenact;
pub use summary::Summary;

use crate::config::Config;
use crate::export::eve;
use crate::files::Meter;
use crate::model::Model;
use crate::sensor::pcap::{Capture, CaptureError};
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How fast to replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speed {
    /// As fast as it goes.
    #[default]
    Max,
    /// At the pace of the capture.
    Real,
}

/// Why a replay did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The capture cannot be read at all.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The capture broke off. What came before was processed, and its results were written.
    #[error("the capture breaks off ({} packets were processed, and their results are in {})", summary.packets, out.display())]
    Broken {
        /// What is wrong with it.
        #[source]
        cause: CaptureError,
        /// Where the results are.
        out: PathBuf,
        /// What was processed.
        summary: Box<Summary>,
    },
    /// The results cannot be written.
    #[error("cannot write {} (check that the directory can be made and that the disk has room)", path.display())]
    Output {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// Replays `file` and writes the results into `out`, which is made if need be. `model` judges flows, if there is one;
/// `meter` is told of the bytes of the capture.
///
/// # Errors
/// [`ReplayError`]; with [`ReplayError::Broken`] the results up to the break are written.
pub fn run(
    config: &Config,
    model: Option<Arc<Model>>,
    file: &Path,
    out: &Path,
    speed: Speed,
    meter: &Meter,
) -> Result<Summary, ReplayError> {
    let mut capture = Capture::open_metered(file, meter)?;
    fs::create_dir_all(out).map_err(output(out))?;
    let eve_path = out.join("eve.json");
    let mut eve = BufWriter::new(File::create(&eve_path).map_err(output(&eve_path))?);
    let mut pipeline = Pipeline::new(config);
    if let Some(model) = model {
        pipeline = pipeline.with_model(config, model);
    }
    let mut write = |events: &mut Vec<eve::Event>| {
        for event in events.drain(..) {
            event.write(&mut eve).map_err(output(&eve_path))?;
        }
        Ok::<_, ReplayError>(())
    };
    let mut broken = None;
    let mut pace = None;
    while let Some(frame) = capture.next() {
        match frame {
            Ok(frame) => {
                if speed == Speed::Real {
                    wait(&mut pace, frame.at_ns);
                }
                pipeline.frame(frame.at_ns, frame.bytes, frame.wire_len);
            }
            Err(cause) => broken = Some(cause),
        }
        write(pipeline.events())?;
    }
    let name = file
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let summary = pipeline.finish(name, broken.as_ref().map(ToString::to_string));
    write(pipeline.events())?;
    eve.flush().map_err(output(&eve_path))?;
    put(&out.join("decisions.json"), &pipeline.decisions())?;
    put(&out.join("summary.json"), &summary)?;
    match broken {
        None => Ok(summary),
        Some(cause) => Err(ReplayError::Broken {
            cause,
            out: out.to_owned(),
            summary: Box::new(summary),
        }),
    }
}

fn output(path: &Path) -> impl FnOnce(io::Error) -> ReplayError {
    let path = path.to_owned();
    move |source| ReplayError::Output { path, source }
}

/// Writes a value as JSON for people and scripts.
fn put(path: &Path, value: &impl Serialize) -> Result<(), ReplayError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(io::Error::from)
        .map_err(output(path))?;
    text.push(b'\n');
    fs::write(path, text).map_err(output(path))
}

/// Sleeps until the capture's time has passed since the first frame.
fn wait(pace: &mut Option<(Instant, u64)>, at_ns: u64) {
    let (began, first) = *pace.get_or_insert((Instant::now(), at_ns));
    let due = Duration::from_nanos(at_ns.saturating_sub(first));
    std::thread::sleep(due.saturating_sub(began.elapsed()));
}
