//! Values that read and tell themselves.

use super::value::{Fault, fault, quote};
use serde_json::{Value, json};

/// A value with a spelling of its own.
pub(super) trait Own {
    /// Takes what the text says, or leaves the value as it was.
    fn read(&mut self, text: &str) -> Result<(), Fault>;
    /// As people write it.
    fn show(&self) -> String;
    /// What it looks like, for messages.
    fn wants(&self) -> String;
    /// Its schema, the default apart.
    fn schema(&self) -> Value;
}

/// One of some words.
pub(super) trait Word: Copy + PartialEq + 'static {
    /// All of them, with their values.
    const WORDS: &'static [(&'static str, Self)];

    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, value)| *value == self);
        found.map_or("", |(word, _)| word)
    }
}

impl<T: Word> Own for T {
    fn read(&mut self, text: &str) -> Result<(), Fault> {
        let found = T::WORDS.iter().find(|(word, _)| *word == text);
        let Some((_, value)) = found else {
            return Err(fault(
                format!("{} is not known", quote(text)),
                format!("write {}", self.wants()),
            ));
        };
        *self = *value;
        Ok(())
    }

    fn show(&self) -> String {
        self.word().to_owned()
    }

    fn wants(&self) -> String {
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| format!("`{word}`")).collect();
        words.join(" or ")
    }

    fn schema(&self) -> Value {
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| *word).collect();
        json!({ "enum": words })
    }
}
