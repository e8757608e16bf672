//! One request takes no longer than it may.

use super::{IntelError, IntelSource, Profile, Reply};
use crate::types::Severity;
use futures_util::future::BoxFuture;
use std::net::IpAddr;
use std::time::Duration;

/// Gives up a request after a while: the connection is dropped with it.
pub(super) struct Timeout {
    inner: Box<dyn IntelSource>,
    after: Duration,
}

impl Timeout {
    pub(super) fn new(inner: Box<dyn IntelSource>, after: Duration) -> Self {
        Self { inner, after }
    }
}

impl IntelSource for Timeout {
    fn profile(&self) -> &Profile {
        self.inner.profile()
    }

    fn ask(&self, ip: IpAddr, severity: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        Box::pin(async move {
            match tokio::time::timeout(self.after, self.inner.ask(ip, severity)).await {
                Ok(result) => result,
                Err(_) => Err(IntelError::Timeout(self.after)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{IP, Scripted};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_source_that_hangs_is_given_up() {
        let source = Scripted::new("slow").takes(Duration::from_secs(9));
        let timeout = Timeout::new(source.boxed(), Duration::from_millis(1_500));
        let began = tokio::time::Instant::now();
        let told = timeout.ask(IP, Severity::High).await;
        assert_eq!(told, Err(IntelError::Timeout(Duration::from_millis(1_500))));
        assert_eq!(began.elapsed(), Duration::from_millis(1_500));
        assert_eq!((source.begun(), source.finished()), (1, 0), "dropped on the way");
    }
}
