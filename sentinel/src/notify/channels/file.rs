//! JSON lines.

use super::{Channel, ChannelError};
use crate::config::FileConfig;
use crate::files::rotating::RotatingFile;
use crate::notify::Letter;
use crate::types::ChannelKind;
use futures_util::future::BoxFuture;
use std::sync::{Arc, Mutex, PoisonError};

/// One line a message.
#[derive(Debug)]
pub(super) struct JsonLines(Arc<Mutex<RotatingFile>>);

impl JsonLines {
    pub(super) fn new(config: &FileConfig) -> Self {
        let path = config.path.clone().unwrap_or_default();
        Self(Arc::new(Mutex::new(RotatingFile::new(
            path,
            config.max_bytes,
            config.keep,
        ))))
    }
}

impl Channel for JsonLines {
    fn kind(&self) -> ChannelKind {
        ChannelKind::File
    }

    fn deliver<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), ChannelError>> {
        let line = letter.data.to_string();
        let file = Arc::clone(&self.0);
        Box::pin(async move {
            // A disk that hangs must hold up no other channel.
            let written = tokio::task::spawn_blocking(move || {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.write_line(line.as_bytes())
            });
            match written.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(ChannelError::away(
                    format!("{}: {}", error.path.display(), error.cause),
                    error.mend,
                )),
                Err(_) => Err(ChannelError::away("the line was not written", "look into the log")),
            }
        })
    }
}
