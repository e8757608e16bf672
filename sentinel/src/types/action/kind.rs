//! What can be done about a source: a line here and a file beside it for each kind.

use crate::types::Terms;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Makes the kinds of the files named; the mildest first.
macro_rules! kinds {
    ($($file:ident: $kind:ident,)*) => {
        $(mod $file;)*

        /// What can be done about a source. What is in force is never replaced by a milder kind on its own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum ActionKind {
            $(
                #[doc = concat!("`", stringify!($file), "`.")]
                $kind,
            )*
        }

        impl ActionKind {
            /// Every kind, the mildest first.
            pub const ALL: [Self; [$(stringify!($kind)),*].len()] = [$(Self::$kind),*];

            /// All that is particular about it.
            pub const fn profile(self) -> &'static Profile {
                match self {
                    $(Self::$kind => &$file::PROFILE,)*
                }
            }
        }
    };
}

kinds! {
    log_only: LogOnly,
    rate_limit: RateLimit,
    redirect_to_honeypot: RedirectToHoneypot,
    block_ip: BlockIp,
    isolate_container: IsolateContainer,
    arp_ban: ArpBan,
}

/// What an action cannot be carried out without; where it is missing, a detector's decision is a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing but the kernel.
    Nothing,
    /// A honeypot of the target's family.
    Honeypot,
    /// A container that has the target's address.
    Container,
}

/// All that is particular about a kind of action.
#[derive(Debug)]
pub struct Profile {
    /// The name used in settings, metrics and API; that of its file.
    pub name: &'static str,
    /// What else operators and lists call it: the command line's word first. Nobody can ask for one without.
    pub words: &'static [&'static str],
    /// What it does, for whoever chooses.
    pub help: &'static str,
    /// How its entry acts in the kernel, one of [`sentinel_common::entry`]'s `ACTION_*`; `None` where it has no entry.
    pub entry: Option<u8>,
    /// The kind that the action in the kernel has by which it is carried out, where a room of its own does the rest as an
    /// action beside that.
    pub in_kernel: Option<ActionKind>,
    /// Whether it goes by a rate.
    pub rated: bool,
    /// Whether it can act on what goes out to the target, too.
    pub egress: bool,
    /// What it cannot be carried out without.
    pub needs: Needs,
    /// What its entry does once it was read back, for people.
    pub done: fn(&Terms) -> String,
    /// What does not happen to a packet that a simulated one counts.
    pub spared: &'static str,
    /// What is told of its target, in force and simulated.
    pub told: [&'static str; 2],
    /// What is told of its target, in force, where the outcome tells how that is not what was meant.
    pub told_otherwise: &'static str,
}

impl ActionKind {
    /// What a decision can be, the mildest first; the others are only ever actions beside that.
    pub const DECIDED: [Self; 5] = [
        Self::LogOnly,
        Self::RateLimit,
        Self::RedirectToHoneypot,
        Self::BlockIp,
        Self::IsolateContainer,
    ];

    /// Whether a room of its own carries it out, beside what the kernel does for the same decision.
    #[must_use]
    pub const fn beside(self) -> bool {
        matches!(self, Self::IsolateContainer | Self::ArpBan)
    }

    /// The name used in configuration, metrics and API.
    pub const fn as_str(self) -> &'static str {
        self.profile().name
    }

    /// What of a decision is carried out in the kernel: an isolation has its second half elsewhere, as an action of its own.
    #[must_use]
    pub const fn in_kernel(self) -> Self {
        match self.profile().in_kernel {
            Some(kind) => kind,
            None => self,
        }
    }

    /// The kind that an operator or a list means by a word.
    pub fn meant(word: &str) -> Option<Self> {
        Self::askable().find(|kind| {
            let profile = kind.profile();
            profile.words.contains(&word) || profile.name == word
        })
    }

    /// Those that can be asked for.
    pub fn askable() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kind| !kind.profile().words.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_serde_writes_and_words_mean_one_kind() {
        let mut words = Vec::new();
        for kind in ActionKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            words.push(kind.as_str());
            words.extend(kind.profile().words.iter().filter(|word| **word != kind.as_str()));
            assert_eq!(kind.in_kernel().in_kernel(), kind.in_kernel());
            assert_eq!(kind.in_kernel().profile().entry, kind.profile().entry);
            assert_eq!(
                kind.profile().entry.is_none(),
                kind.profile().words.is_empty(),
                "what acts can be asked for"
            );
            for word in kind.profile().words {
                assert_eq!(ActionKind::meant(word), Some(kind));
            }
        }
        let all = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all);
        assert_eq!(ActionKind::meant("log_only"), None);
    }
}
