//! What is told of flows, for whoever keeps a log of them: feature records, each with what the model said.

use super::{Detectors, Supervised};
use crate::config::Config;
use crate::features::{Builder, FeatureLosses, FeatureRecord, Limits};
use crate::flow::Observation;
use crate::model::Level;
use crate::types::Ktime;
use sentinel_common::event::FlowRecord;

/// Rows kept until they are fetched. More are counted and lost.
const ROOM: usize = 2048;

/// One feature record, and what the model said of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Who, when, and the numbers.
    pub record: FeatureRecord,
    /// None where no model judges.
    pub said: Option<Said>,
}

/// What the model said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Said {
    /// In \[0, 1\].
    pub score: f64,
    /// By this network's thresholds; none while there are none.
    pub level: Option<Level>,
}

/// Rows that wait.
#[derive(Debug, Default)]
pub(super) struct Rows {
    kept: Vec<Row>,
    lost: u64,
}

impl Rows {
    pub(super) fn add(&mut self, row: &Row) {
        if self.kept.len() < ROOM {
            self.kept.push(*row);
        } else {
            self.lost += 1;
        }
    }

    /// What came since the last time, and how much more did that there was no room for.
    pub(super) fn take(&mut self) -> (Vec<Row>, u64) {
        (std::mem::take(&mut self.kept), std::mem::take(&mut self.lost))
    }
}

/// Upper bound of what waits, bytes.
pub(super) const fn memory_bound() -> usize {
    // A power of two: a vector that doubles is never larger.
    ROOM * size_of::<Row>()
}

/// Makes rows where no model judges.
#[derive(Debug)]
pub(super) struct Plain {
    builder: Builder,
    records: Vec<FeatureRecord>,
    rows: Rows,
}

impl Plain {
    fn new(limits: &Limits) -> Self {
        Self {
            builder: Builder::new(limits),
            records: Vec::new(),
            rows: Rows::default(),
        }
    }

    pub(super) fn record(&mut self, record: &FlowRecord, seen: &Observation) {
        self.builder.record(record, seen, &mut self.records);
        self.keep();
    }

    pub(super) fn tick(&mut self, now: Ktime) {
        self.builder.tick(now, &mut self.records);
        self.keep();
    }

    pub(super) fn losses(&self) -> FeatureLosses {
        self.builder.losses()
    }

    fn keep(&mut self) {
        for record in self.records.drain(..) {
            self.rows.add(&Row { record, said: None });
        }
    }
}

impl Detectors {
    /// Has them keep rows of flows for [`Detectors::take_rows`], by the model's own builder where one judges. To be asked for
    /// after [`Detectors::with_model`].
    #[must_use]
    pub fn with_rows(mut self, config: &Config) -> Self {
        match &mut self.supervised {
            Some(supervised) => supervised.keep_rows(),
            None => self.plain = Some(Plain::new(&Limits::from(&config.flow))),
        }
        self
    }

    /// Rows since the last time, in the order in which they fell due, and how many more there was no room for.
    pub fn take_rows(&mut self) -> (Vec<Row>, u64) {
        match (&mut self.supervised, &mut self.plain) {
            (_, Some(plain)) => plain.rows.take(),
            (Some(supervised), None) => supervised.take_rows(),
            (None, None) => (Vec::new(), 0),
        }
    }

    /// Ends every flow, so that rows tell of those too. Nothing is detected any more.
    pub fn finish_rows(&mut self) {
        if let Some(plain) = &mut self.plain {
            plain.builder.finish(&mut plain.records);
            plain.keep();
        }
        if let Some(supervised) = self.supervised.as_mut().filter(|s| s.keeps_rows()) {
            Supervised::finish_rows(supervised);
        }
    }

    /// By which name alerts and rows are signed.
    pub fn sensor(&self) -> &str {
        &self.speaker.sensor
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::{Wire, ms};
    use crate::model::Model;
    use crate::model::testing::record as hand_made;
    use std::sync::Arc;

    /// A minute of sessions, and what is told of them.
    fn told(change: impl FnOnce(Detectors) -> Detectors, finish: bool) -> (Vec<Row>, u64) {
        let mut wire = Wire::new();
        wire.detectors = change(wire.detectors);
        for port in 0..20 {
            wire.session(("192.0.2.7", 40_000 + port), ("10.0.0.1", 443), 700, 4_000);
            wire.wait(ms(500));
        }
        wire.udp(("192.0.2.7", 5_000), ("10.0.0.1", 53), 40);
        if finish {
            wire.detectors.finish_rows();
        } else {
            wire.wait(ms(20_000));
        }
        wire.detectors.take_rows()
    }

    #[test]
    fn rows_are_the_same_with_a_model_and_without_and_the_model_says_what_it_thinks() {
        let config = Config::default();
        let judging = |calibrated: bool| {
            let mut record = hand_made();
            record.description.site = calibrated.then_some([9; 32]);
            let model = Arc::new(Model::new(record).unwrap());
            let config = config.clone();
            move |detectors: Detectors| detectors.with_model(&config, model).with_rows(&config)
        };
        let (plain, lost) = told(|detectors| detectors.with_rows(&config), false);
        assert!(plain.len() >= 21 && lost == 0, "{} {lost}", plain.len());
        assert!(plain.iter().all(|row| row.said.is_none()));
        for calibrated in [false, true] {
            let (judged, _) = told(judging(calibrated), false);
            let records = |rows: &[Row]| rows.iter().map(|row| row.record).collect::<Vec<_>>();
            assert_eq!(records(&judged), records(&plain));
            for row in &judged {
                let said = row.said.expect("a model judges");
                assert!((0.0..=1.0).contains(&said.score));
                assert_eq!(
                    said.level.is_some(),
                    calibrated,
                    "a level is of this network's thresholds"
                );
            }
        }
        let (none, _) = told(|detectors| detectors, false);
        assert!(none.is_empty(), "nobody asked for them");
    }

    #[test]
    fn flows_that_go_on_are_told_of_at_the_end() {
        let config = Config::default();
        let (rows, _) = told(|detectors| detectors.with_rows(&config), true);
        let dns = rows.iter().filter(|row| row.record.target.port == 53);
        assert_eq!(dns.count(), 1);
    }

    #[test]
    fn what_nobody_fetches_is_bounded_and_counted() {
        let config = Config::default();
        let (rows, _) = told(|detectors| detectors.with_rows(&config), false);
        let mut kept = Rows::default();
        for _ in 0..ROOM + 3 {
            kept.add(&rows[0]);
        }
        let (rows, lost) = kept.take();
        assert_eq!((rows.len(), lost), (ROOM, 3));
        assert_eq!(kept.take(), (Vec::new(), 0));
    }
}
