//! Who asks for the busiest flows is told, by one walk of the table a second at most.

use crate::flow::FlowTable;
use crate::time;
use crate::types::{Busiest, BusyPer, BusyRequest, Ktime};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// An answer is given again for so long.
const FRESH: Duration = Duration::from_secs(1);

/// Questions, and what was answered last.
#[derive(Debug)]
pub(super) struct Busy {
    questions: mpsc::Receiver<BusyRequest>,
    flows: Option<(Ktime, Arc<Busiest>)>,
    sources: Option<(Ktime, Arc<Busiest>)>,
}

impl Busy {
    pub(super) const fn new(questions: mpsc::Receiver<BusyRequest>) -> Self {
        Self {
            questions,
            flows: None,
            sources: None,
        }
    }

    /// The next question; none once nobody can ask any more.
    pub(super) async fn next(this: &mut Option<Self>) -> Option<BusyRequest> {
        this.as_mut()?.questions.recv().await
    }

    /// Answers one.
    pub(super) fn answer(&mut self, (per, of, reply): BusyRequest, table: &FlowTable, now: Ktime) {
        if of.is_some() {
            // Whoever asks about one address has its turn given by the API.
            drop(reply.send(Arc::new(table.busiest(per, of, now, time::clock()))));
            return;
        }
        let kept = match per {
            BusyPer::Flow => &mut self.flows,
            BusyPer::Source => &mut self.sources,
        };
        let told = match kept {
            Some((at, told)) if now.since(*at) < FRESH => Arc::clone(told),
            _ => {
                let told = Arc::new(table.busiest(per, None, now, time::clock()));
                *kept = Some((now, Arc::clone(&told)));
                told
            }
        };
        // Whoever asked may have given up meanwhile.
        drop(reply.send(told));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use tokio::sync::oneshot;

    #[test]
    fn the_table_is_walked_once_a_second_and_kind() {
        let (_ask, questions) = mpsc::channel(1);
        let mut busy = Busy::new(questions);
        let table = FlowTable::new(&Config::default().flow);
        let mut ask = |per, now: u64| {
            let (reply, mut answer) = oneshot::channel();
            busy.answer((per, None, reply), &table, Ktime(now));
            answer.try_recv().expect("answered")
        };
        let first = ask(BusyPer::Flow, 1_000_000_000);
        assert!(Arc::ptr_eq(&first, &ask(BusyPer::Flow, 1_900_000_000)));
        assert!(!Arc::ptr_eq(&first, &ask(BusyPer::Source, 1_900_000_000)));
        assert!(!Arc::ptr_eq(&first, &ask(BusyPer::Flow, 2_000_000_000)));
    }
}
