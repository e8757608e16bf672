//! Values with words of their own, for keys whose kind no other section has.

use super::value::{Fault, fault, quote};
use crate::types::{ChannelKind, Severity, Template};
use serde_json::{Value, json};

/// A place for such a value, as the table of keys sees it.
pub(super) trait Words {
    /// Puts in what a text says.
    fn take(&mut self, text: &str) -> Result<(), Fault>;

    /// Puts in a list, where it is one; the index is that of the item.
    fn take_list(&mut self, _items: &[(usize, &str)], _faults: &mut Vec<(Option<usize>, Fault)>) {}

    /// Whether it takes several values.
    fn is_list(&self) -> bool {
        false
    }

    /// The word that stands for no list at all.
    fn word(&self) -> Option<&'static str> {
        None
    }

    /// What it looks like, for messages.
    fn wants(&self) -> String;

    /// As people write it, with `mask` for what may hold a secret.
    fn show(&self, mask: &str) -> String;

    /// For editors.
    fn schema(&self) -> Value;
}

/// One such value.
pub(super) trait Word: Sized {
    /// What it looks like.
    fn wants() -> String;

    /// Reads it; the fault does not repeat what may be secret.
    fn read(text: &str) -> Result<Self, Fault>;

    /// As people write it.
    fn show(&self, mask: &str) -> String;

    /// The words there are, where they are few.
    fn choices() -> Vec<&'static str> {
        Vec::new()
    }
}

fn schema_of<T: Word>() -> Value {
    let choices = T::choices();
    if choices.is_empty() {
        json!({ "type": "string" })
    } else {
        json!({ "enum": choices })
    }
}

impl<T: Word> Words for T {
    fn take(&mut self, text: &str) -> Result<(), Fault> {
        *self = T::read(text)?;
        Ok(())
    }

    fn wants(&self) -> String {
        T::wants()
    }

    fn show(&self, mask: &str) -> String {
        Word::show(self, mask)
    }

    fn schema(&self) -> Value {
        let mut schema = schema_of::<T>();
        schema["default"] = json!(Word::show(self, ""));
        schema
    }
}

/// Nothing, or one.
impl<T: Word> Words for Option<T> {
    fn take(&mut self, text: &str) -> Result<(), Fault> {
        *self = if text.is_empty() { None } else { Some(T::read(text)?) };
        Ok(())
    }

    fn wants(&self) -> String {
        format!("{}, or nothing for none", T::wants())
    }

    fn show(&self, mask: &str) -> String {
        self.as_ref().map(|value| value.show(mask)).unwrap_or_default()
    }

    fn schema(&self) -> Value {
        json!({ "type": "string", "default": "" })
    }
}

/// Any number of them.
impl<T: Word> Words for Vec<T> {
    fn take(&mut self, text: &str) -> Result<(), Fault> {
        Err(fault(
            format!("{} is no list", quote(text)),
            format!("write a list of {}", T::wants()),
        ))
    }

    fn take_list(&mut self, items: &[(usize, &str)], faults: &mut Vec<(Option<usize>, Fault)>) {
        self.clear();
        for (index, text) in items {
            match T::read(text) {
                Ok(item) => self.push(item),
                Err(fault) => faults.push((Some(*index), fault)),
            }
        }
    }

    fn is_list(&self) -> bool {
        true
    }

    fn wants(&self) -> String {
        format!("a list of {}", T::wants())
    }

    fn show(&self, mask: &str) -> String {
        if self.is_empty() {
            return "none".to_owned();
        }
        let items: Vec<_> = self.iter().map(|item| item.show(mask)).collect();
        items.join(", ")
    }

    fn schema(&self) -> Value {
        let default: Vec<_> = self.iter().map(|item| item.show("")).collect();
        json!({ "type": "array", "items": schema_of::<T>(), "default": default })
    }
}

/// `auto`, or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auto<T>(pub Option<Vec<T>>);

impl<T> Default for Auto<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Word> Words for Auto<T> {
    fn take(&mut self, text: &str) -> Result<(), Fault> {
        if text != "auto" {
            return Err(fault(
                format!("{} is neither `auto` nor a list", quote(text)),
                format!("write {}", self.wants()),
            ));
        }
        self.0 = None;
        Ok(())
    }

    fn take_list(&mut self, items: &[(usize, &str)], faults: &mut Vec<(Option<usize>, Fault)>) {
        let mut list = Vec::new();
        list.take_list(items, faults);
        self.0 = Some(list);
    }

    fn is_list(&self) -> bool {
        true
    }

    fn word(&self) -> Option<&'static str> {
        Some("auto")
    }

    fn wants(&self) -> String {
        format!("`auto` or a list of {}", T::wants())
    }

    fn show(&self, mask: &str) -> String {
        self.0.as_ref().map_or("auto".to_owned(), |list| list.show(mask))
    }

    fn schema(&self) -> Value {
        json!({ "anyOf": [{ "const": "auto" }, { "type": "array", "items": schema_of::<T>() }], "default": "auto" })
    }
}

/// One of a few words.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// All of them, with what each means.
    const WORDS: &'static [(&'static str, Self)];

    /// The word for it.
    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, value)| *value == self);
        found.map_or("", |(word, _)| word)
    }
}

impl<T: Choice> Word for T {
    fn wants() -> String {
        let names: Vec<_> = T::WORDS.iter().map(|(word, _)| format!("`{word}`")).collect();
        names.join(" or ")
    }

    fn read(text: &str) -> Result<Self, Fault> {
        if let Some((_, value)) = T::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let names = <T as Word>::wants();
        let near = super::value::closest(text, T::WORDS.iter().map(|(word, _)| *word));
        let mend = near.map_or_else(
            || format!("write {names}"),
            |near| format!("did you mean `{near}`? Known are {names}"),
        );
        Err(fault(format!("{} is not known", quote(text)), mend))
    }

    fn show(&self, _: &str) -> String {
        Choice::word(*self).to_owned()
    }

    fn choices() -> Vec<&'static str> {
        T::WORDS.iter().map(|(word, _)| *word).collect()
    }
}

impl Choice for ChannelKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        (Self::Email.as_str(), Self::Email),
        (Self::Slack.as_str(), Self::Slack),
        (Self::Webhook.as_str(), Self::Webhook),
        (Self::File.as_str(), Self::File),
        (Self::Syslog.as_str(), Self::Syslog),
    ];
}

impl Choice for Severity {
    const WORDS: &'static [(&'static str, Self)] = &[
        (Self::High.as_str(), Self::High),
        (Self::Medium.as_str(), Self::Medium),
        (Self::Low.as_str(), Self::Low),
    ];
}

impl Word for Template {
    fn wants() -> String {
        "a text with places such as `[{severity}] {title}`".to_owned()
    }

    fn read(text: &str) -> Result<Self, Fault> {
        let template = Self::parse(text).map_err(|error| fault(error.message, error.mend))?;
        if text.contains(['\r', '\n', '\0']) {
            return Err(fault("has more than one line", "write it in one"));
        }
        Ok(template)
    }

    fn show(&self, _: &str) -> String {
        self.to_string()
    }
}
