//! What machines acknowledged, and where on the disk that was.

use std::collections::BTreeMap;

/// How a target stands by what was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Blocked.
    In,
    /// To be taken back, and nobody said that it was.
    Asked,
    /// Taken back.
    Out,
}

/// Something a machine said, and how much had been done to its disk when it was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) position: usize,
    pub(super) text: String,
}

/// All targets, with the reason their decisions give.
#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    stands: BTreeMap<String, (Stand, String)>,
}

impl Books {
    /// Writes down what a machine said; whether it acknowledged something.
    pub(super) fn hear(&mut self, text: &str, reason: &str) -> bool {
        let Some((verb, targets)) = text.split_once(' ') else {
            return false;
        };
        let stand = match verb {
            "in" => Stand::In,
            "asked" => Stand::Asked,
            "out" => Stand::Out,
            _ => return false,
        };
        for target in targets.split(',') {
            self.stands.insert(target.to_owned(), (stand, reason.to_owned()));
        }
        stand != Stand::Asked
    }

    /// The same with what was heard until a position.
    pub(super) fn at(&self, words: &[Word], position: usize, reason: &str) -> Self {
        let mut books = self.clone();
        for word in words.iter().filter(|word| word.position <= position) {
            books.hear(&word.text, reason);
        }
        books
    }

    /// Targets, how they stand, and the reason.
    pub(super) fn stands(&self) -> impl Iterator<Item = (&str, Stand, &str)> {
        self.stands
            .iter()
            .map(|(target, (stand, reason))| (target.as_str(), *stand, reason.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_heard_by_then_is_asked_for() {
        let word = |position, text: &str| Word {
            position,
            text: text.to_owned(),
        };
        let words = [
            word(3, "in 192.0.2.1,192.0.2.2"),
            word(5, "asked 192.0.2.1"),
            word(9, "out 192.0.2.1"),
        ];
        let stand_of = |position| {
            let books = Books::default().at(&words, position, "machine 1");
            let first = books.stands().next().map(|(_, stand, _)| stand);
            (first, books.stands().count())
        };
        assert_eq!(stand_of(2), (None, 0));
        assert_eq!(stand_of(3), (Some(Stand::In), 2));
        assert_eq!(stand_of(8), (Some(Stand::Asked), 2));
        assert_eq!(stand_of(9), (Some(Stand::Out), 2));
    }
}
