//! Lines of a file.

use super::outlet::{Answer, Doc, Target, Trouble, Verdict};
use crate::config::EveConfig;
use crate::files::rotating::{LineError, RotatingFile};

/// `export.eve`.
pub(super) struct ToFile {
    config: EveConfig,
    /// Away while it is written to.
    file: Option<RotatingFile>,
}

impl ToFile {
    pub(super) fn new(config: &EveConfig) -> Self {
        Self {
            config: config.clone(),
            file: None,
        }
    }
}

impl Target for ToFile {
    const NAME: &'static str = "eve";

    async fn deliver(&mut self, docs: &[Doc]) -> Answer {
        let config = &self.config;
        let mut file = self
            .file
            .take()
            .unwrap_or_else(|| RotatingFile::new(&config.file, config.max_bytes, config.keep));
        let lines: Vec<(String, bool)> = docs.iter().map(|doc| (doc.body.clone(), doc.seq.is_some())).collect();
        let events = lines.len();
        let written = tokio::task::spawn_blocking(move || {
            let answer = write(&mut file, &lines);
            (file, answer)
        });
        match written.await {
            Ok((file, answer)) => {
                self.file = Some(file);
                answer
            }
            Err(_) => Answer::none(events, Trouble::default()),
        }
    }

    fn reopen(&mut self) {
        if let Some(file) = &mut self.file {
            file.reopen();
        }
    }
}

/// Writes line after line up to the first that cannot be. What alerts are among it survives a power cut before it is
/// passed by.
fn write(file: &mut RotatingFile, lines: &[(String, bool)]) -> Answer {
    let mut verdicts = Vec::with_capacity(lines.len());
    let mut failed: Option<LineError> = None;
    for (line, _) in lines {
        if failed.is_none() {
            failed = file.write_line(line.as_bytes()).err();
        }
        verdicts.push(if failed.is_none() {
            Verdict::Taken
        } else {
            Verdict::Again
        });
    }
    let taken = lines
        .iter()
        .zip(&verdicts)
        .filter(|(_, verdict)| **verdict == Verdict::Taken);
    if taken.into_iter().any(|((_, alert), _)| *alert)
        && let Err(error) = file.sync()
    {
        failed = Some(error);
        verdicts.fill(Verdict::Again);
    }
    Answer {
        verdicts,
        trouble: failed.map(|error| Trouble {
            cause: format!("{}: {}", error.path.display(), error.cause),
            mend: error.mend.to_owned(),
            after: Some(std::time::Duration::from_secs(1)),
            split: false,
        }),
    }
}
