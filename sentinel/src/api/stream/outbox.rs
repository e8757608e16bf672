//! Messages on their way to one reader: each at once, or together four times a second.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Between two batches.
const PERIOD: Duration = Duration::from_millis(250);

/// Messages one batch holds; while it is full the reader takes no more events, and the lane counts what it loses.
const BATCH: usize = 1000;

/// What a message is about; a later one about the same takes the place of an earlier one of the same batch.
pub(super) type Topic = (&'static str, String);

/// What waits to be sent.
#[derive(Debug)]
pub(super) struct Outbox {
    batched: bool,
    texts: Vec<Option<String>>,
    topics: HashMap<Topic, usize>,
    /// When the batch before this one was sent.
    sent: Option<Instant>,
}

impl Outbox {
    pub(super) fn new(batched: bool) -> Self {
        Self {
            batched,
            texts: Vec::new(),
            topics: HashMap::new(),
            sent: None,
        }
    }

    pub(super) fn add(&mut self, topic: Option<Topic>, text: String) {
        let place = self.texts.len();
        let topic = topic.filter(|_| self.batched);
        if let Some(earlier) = topic.and_then(|topic| self.topics.insert(topic, place)) {
            self.texts[earlier] = None;
        }
        self.texts.push(Some(text));
    }

    pub(super) fn is_full(&self) -> bool {
        self.texts.len() >= if self.batched { BATCH } else { 1 }
    }

    /// When what waits is to be sent; `None` while nothing does.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let earliest = |sent: Instant| if self.batched { (sent + PERIOD).max(now) } else { now };
        (!self.texts.is_empty()).then(|| self.sent.map_or(now, earliest))
    }

    /// Takes what waits, as the texts of messages: a batch is one JSON array.
    pub(super) fn take(&mut self, now: Instant) -> Vec<String> {
        self.sent = Some(now);
        self.topics.clear();
        let texts: Vec<String> = self.texts.drain(..).flatten().collect();
        if self.batched {
            vec![format!("[{}]", texts.join(","))]
        } else {
            texts
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(name: &str) -> Topic {
        ("decision", name.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn four_batches_a_second_with_the_last_word_on_each_topic() {
        let mut outbox = Outbox::new(true);
        let begun = Instant::now();
        assert_eq!(outbox.due(begun), None);
        outbox.add(Some(about("a")), "1".into());
        assert_eq!(
            outbox.due(begun),
            Some(begun),
            "the first of a quiet time does not wait"
        );
        assert_eq!(outbox.take(begun), ["[1]"]);
        assert_eq!(outbox.due(begun), None);
        for (topic, text) in [
            (Some(about("a")), "2"),
            (None, "3"),
            (Some(about("b")), "4"),
            (Some(about("a")), "5"),
        ] {
            outbox.add(topic, text.into());
        }
        let next = begun + PERIOD;
        assert_eq!(outbox.due(begun), Some(next));
        assert_eq!(outbox.due(next + PERIOD), Some(next + PERIOD), "never in the past");
        assert_eq!(outbox.take(next), ["[3,4,5]"]);
        outbox.add(Some(about("b")), "6".into());
        assert_eq!(outbox.take(next), ["[6]"], "a batch knows nothing of the one before");
        assert!(!outbox.is_full());
        for n in 0..BATCH {
            outbox.add(None, n.to_string());
        }
        assert!(outbox.is_full());
    }

    #[tokio::test(start_paused = true)]
    async fn one_by_one_they_go_at_once() {
        let mut outbox = Outbox::new(false);
        let now = Instant::now();
        outbox.add(Some(about("a")), "1".into());
        assert!(outbox.is_full());
        outbox.add(None, "2".into());
        assert_eq!(
            (outbox.due(now), outbox.take(now)),
            (Some(now), vec!["1".into(), "2".into()])
        );
        outbox.add(None, "3".into());
        assert_eq!(outbox.due(now), Some(now));
    }
}
