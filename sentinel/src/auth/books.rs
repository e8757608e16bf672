//! Everything that opens something, in memory.

use super::lockout::Lockout;
use super::{AuthError, LONGEST, SESSIONS, TOKENS, Who};
use crate::types::{Session, Timestamp, Token, TokenId};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How stale the kept time of last use may be.
const STALE: Duration = Duration::from_mins(10);
/// One-time links at a time; past it the oldest is over.
const LINKS: usize = 16;

#[derive(Debug)]
pub(super) struct Books {
    tokens: BTreeMap<TokenId, Token>,
    /// Digests of whole tokens that were checked against their hashes in this run, also of those that are over.
    checked: HashMap<String, TokenId>,
    sessions: HashMap<String, Session>,
    links: Vec<(String, Timestamp)>,
    people: Lockout,
    bouncers: Lockout,
}

/// Whose failures are counted together.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    People,
    Bouncers,
}

impl Books {
    pub(super) fn new(tokens: Vec<Token>, sessions: Vec<Session>) -> Self {
        Self {
            tokens: tokens.into_iter().map(|token| (token.id.clone(), token)).collect(),
            checked: HashMap::new(),
            sessions: sessions
                .into_iter()
                .map(|session| (session.digest.clone(), session))
                .collect(),
            links: Vec::new(),
            people: Lockout::default(),
            bouncers: Lockout::default(),
        }
    }

    pub(super) const fn lockout(&mut self, of: Of) -> &mut Lockout {
        match of {
            Of::People => &mut self.people,
            Of::Bouncers => &mut self.bouncers,
        }
    }

    pub(super) fn is_new(&self) -> bool {
        self.tokens.is_empty() && self.sessions.is_empty()
    }

    pub(super) fn token(&self, id: &TokenId) -> Option<&Token> {
        self.tokens.get(id)
    }

    /// Who has a token whose digest was seen before; with what is to be kept of its use.
    pub(super) fn known(&mut self, digest: &str, now: Timestamp) -> Option<(Who, Option<Token>)> {
        let id = self.checked.get(digest)?;
        let token = self.tokens.get_mut(id).filter(|token| token.holds(now))?;
        let stale = token.used_at.is_none_or(|used| now >= used.after(STALE));
        if stale {
            token.used_at = Some(now);
        }
        Some((bearer(token), stale.then(|| token.clone())))
    }

    /// Whether a token's digest was seen before, however it stands with the token.
    pub(super) fn is_checked(&self, digest: &str) -> bool {
        self.checked.contains_key(digest)
    }

    /// A token was checked against its hash; who has it, where it still opens anything.
    pub(super) fn learn(&mut self, id: &TokenId, digest: String, now: Timestamp) -> Option<Who> {
        let token = self.tokens.get_mut(id)?;
        self.checked.insert(digest, id.clone());
        token.holds(now).then(|| {
            token.used_at = Some(now);
            bearer(token)
        })
    }

    /// Who has a session; with what is to be kept of its use. One that is over is forgotten.
    pub(super) fn session(&mut self, digest: &str, idle: Duration, now: Timestamp) -> Option<(Who, Option<Session>)> {
        if !self.is_open(digest, idle, now) {
            self.sessions.remove(digest);
            return None;
        }
        let session = self.sessions.get_mut(digest)?;
        let stale = now >= session.used_at.after(STALE.min(idle / 4));
        if stale {
            session.used_at = now;
        }
        let who = Who {
            actor: session.actor.clone(),
            role: session.role,
            session: Some(session.digest.clone()),
            token: session.token.clone(),
        };
        Some((who, stale.then(|| session.clone())))
    }

    /// Whether there is such a session, and its time is not over.
    pub(super) fn is_open(&self, digest: &str, idle: Duration, now: Timestamp) -> bool {
        self.sessions.get(digest).is_some_and(|session| {
            let token = session.token.as_ref().map(|id| self.tokens.get(id));
            let held = token.is_none_or(|token| token.is_some_and(|token| token.holds(now)));
            held && now < session.used_at.after(idle) && now < session.began_at.after(LONGEST)
        })
    }

    /// Begins a session; returns the digests of those that are over for it.
    pub(super) fn begin(&mut self, session: Session) -> Vec<String> {
        let mut over = Vec::new();
        while self.sessions.len() >= SESSIONS {
            let oldest = self.sessions.values().min_by_key(|s| (s.used_at, &s.digest));
            let Some(digest) = oldest.map(|session| session.digest.clone()) else {
                break;
            };
            self.sessions.remove(&digest);
            over.push(digest);
        }
        self.sessions.insert(session.digest.clone(), session);
        over
    }

    pub(super) fn end(&mut self, digest: &str) {
        self.sessions.remove(digest);
    }

    pub(super) fn may_create(&self, name: &str, now: Timestamp) -> Result<(), AuthError> {
        let holding = || self.tokens.values().filter(|token| token.holds(now));
        if holding().any(|token| token.name == name) {
            return Err(AuthError::Invalid(format!(
                "there is a token `{name}` already; choose another name, or revoke it"
            )));
        }
        if holding().count() >= TOKENS {
            return Err(AuthError::Invalid(format!(
                "there are {TOKENS} tokens; revoke those that are not needed"
            )));
        }
        Ok(())
    }

    pub(super) fn put(&mut self, token: Token) {
        self.tokens.insert(token.id.clone(), token);
    }

    pub(super) fn forget(&mut self, id: &TokenId) {
        self.tokens.remove(id);
        self.checked.retain(|_, known| known != id);
    }

    pub(super) fn tokens(&self) -> Vec<Token> {
        let mut tokens: Vec<_> = self.tokens.values().cloned().collect();
        tokens.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        tokens
    }

    /// Revokes; returns it and the digests of the sessions that end with it.
    pub(super) fn revoke(&mut self, which: &str, now: Timestamp) -> Option<(Token, Vec<String>)> {
        let mut holding = self.tokens.values_mut().filter(|token| token.holds(now));
        let token = holding.find(|token| token.id.0 == which || token.name == which)?;
        token.revoked_at = Some(now);
        let token = token.clone();
        let of_it = |session: &&Session| session.token.as_ref() == Some(&token.id);
        let ended: Vec<String> = self.sessions.values().filter(of_it).map(|s| s.digest.clone()).collect();
        for digest in &ended {
            self.sessions.remove(digest);
        }
        Some((token, ended))
    }

    pub(super) fn put_link(&mut self, digest: String, until: Timestamp) {
        if self.links.len() >= LINKS {
            self.links.remove(0);
        }
        self.links.push((digest, until));
    }

    /// Whether there is such a link; it is used up by that.
    pub(super) fn take_link(&mut self, digest: &str, now: Timestamp) -> bool {
        self.links.retain(|(_, until)| now < *until);
        let place = self.links.iter().position(|(known, _)| known == digest);
        place.map(|place| self.links.remove(place)).is_some()
    }
}

fn bearer(token: &Token) -> Who {
    Who {
        actor: token.name.clone(),
        role: token.role,
        session: None,
        token: Some(token.id.clone()),
    }
}
