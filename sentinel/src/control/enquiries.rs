//! What a person wants to know of the world outside: how the sources stand, and what they know of an address.

use super::investigations::take;
use super::{Sources, World};
use crate::config::SeverityThresholds;
use crate::investigate::Weighed;
use crate::time;
use crate::types::{Checked, Enquiry, Protected, Severity};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Addresses asked about at the same time; a further one waits.
const CHECKS: usize = 8;
/// Addresses that may wait for their turn.
const WAITING: usize = 64;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// The room.
pub struct Enquiries {
    /// Who is asked.
    pub world: World,
    /// Levels of risk.
    pub thresholds: watch::Receiver<SeverityThresholds>,
    /// Who is never touched: nobody outside is asked about them either.
    pub protected: watch::Receiver<Arc<Vec<Protected>>>,
}

impl Enquiries {
    /// Answers until it is cancelled or nobody can ask any more.
    pub async fn run(self, mut enquiries: mpsc::Receiver<Enquiry>, cancel: CancellationToken) {
        let mut protected = self.protected.clone();
        let room = &self;
        let mut checks: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        let mut waiting: VecDeque<(IpAddr, oneshot::Sender<Checked>)> = VecDeque::new();
        let mut followed = true;
        self.spare(&protected.borrow_and_update());
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = protected.changed(), if followed => match changed {
                    Ok(()) => self.spare(&protected.borrow_and_update()),
                    Err(_) => followed = false,
                },
                Some(()) = checks.next() => {}
                enquiry = enquiries.recv() => match enquiry {
                    Some(Enquiry::Status(reply)) => {
                        let _ = reply.send(self.world.report());
                    }
                    // Beyond that the answer's channel closes, which says so.
                    Some(Enquiry::Check(ip, reply)) if waiting.len() < WAITING => waiting.push_back((ip, reply)),
                    Some(Enquiry::Check(..)) => {}
                    None => return,
                },
            }
            while checks.len() < CHECKS
                && let Some((ip, reply)) = waiting.pop_front()
            {
                // Whoever has left spends no quota.
                if !reply.is_closed() {
                    checks.push(Box::pin(async move {
                        let _ = reply.send(room.check(ip).await);
                    }));
                }
            }
        }
    }

    fn spare(&self, protected: &[Protected]) {
        self.world.intel.set_own(protected.iter().map(|p| p.target).collect());
    }

    /// Asks everybody who may be asked. A person's question is as urgent as an alert of high severity.
    pub async fn check(&self, ip: IpAddr) -> Checked {
        let ip = ip.to_canonical();
        let mut answers = self.world.known(ip);
        let special = self.world.special(ip);
        if special.is_none() {
            let asked = self.world.ask(ip, Severity::High, 0.5);
            let mut asked = asked.take_until(Box::pin(tokio::time::sleep(PATIENCE)));
            while let Some(answer) = asked.next().await {
                take(&mut answers, answer);
            }
        }
        let (country, network, _) = self.world.place(ip);
        Checked {
            ip,
            special: special.map(str::to_owned),
            risk: Weighed::new(
                &[],
                &answers,
                &self.world.weigher(),
                &self.thresholds.borrow(),
                time::wall_now(),
            )
            .risk,
            answers,
            country,
            network,
        }
    }
}
