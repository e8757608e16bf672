//! Who is asking, and what they may: tokens, sessions of browsers, one-time links, and patience with whoever guesses.
//!
//! In: what a request presents. Out: [`Who`], or why not. Invariant: no secret is kept, told or logged, only what it is
//! checked by; whoever is logged in already is not kept out by others' failures.
//! Deliberately elsewhere: cookies and headers (`api`), rows (`store`), which request needs which role (`api`).

mod books;
mod error;
mod lockout;
mod secret;
#[cfg(test)]
mod tests;

pub use error::AuthError;
pub use secret::Secrets;

use crate::store::{Record, Store, StoreError};
use crate::types::{Role, Session, Timestamp, Token, TokenId};
use books::{Books, Of};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Hashes computed at a time: each takes 19 MiB and some tens of milliseconds.
const HASHES: usize = 2;
/// How long a place for one is waited for.
const QUEUE: Duration = Duration::from_secs(2);
/// Tokens that may hold at a time.
pub const TOKENS: usize = 256;
/// Sessions at a time; past it the one unused for longest is over.
pub const SESSIONS: usize = 256;
/// How long a one-time link can be used.
pub const LINK: Duration = Duration::from_mins(15);
/// How long a session lasts, however much it is used.
const LONGEST: Duration = Duration::from_hours(30 * 24);
/// Longest name of a token, characters.
const NAME: usize = 64;

/// Whoever is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// What the audit calls them.
    pub actor: String,
    /// What they may do.
    pub role: Role,
    /// The session's digest, where it is one.
    pub session: Option<String>,
    /// The token, where one was presented.
    pub token: Option<TokenId>,
}

/// What somebody logs in with.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A token.
    Token(String),
    /// The code of a one-time link.
    Link(String),
}

/// A token somebody wants made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// What the audit will call its bearer: letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// For how long; for good where absent.
    pub duration: Option<Duration>,
}

/// The room. Cheap to share.
#[derive(Debug)]
pub struct Auth {
    store: Store,
    secrets: Secrets,
    hashes: Arc<Semaphore>,
    /// How long a session lasts unused.
    idle: Duration,
    books: Mutex<Books>,
}

impl Auth {
    /// Reads what is kept.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read; then nobody can be let in.
    pub async fn open(store: Store, secrets: Secrets, idle: Duration) -> Result<Self, StoreError> {
        let (tokens, sessions) = (store.tokens().await?, store.sessions().await?);
        Ok(Self::new(store, secrets, idle, tokens, sessions))
    }

    /// With what was kept.
    pub fn new(store: Store, secrets: Secrets, idle: Duration, tokens: Vec<Token>, sessions: Vec<Session>) -> Self {
        Self {
            store,
            secrets,
            hashes: Arc::new(Semaphore::new(HASHES)),
            idle,
            books: Mutex::new(Books::new(tokens, sessions)),
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody ever got a token or logged in.
    pub fn is_new(&self) -> bool {
        self.books().is_new()
    }

    /// Who presents this cookie.
    pub async fn session(&self, secret: &str, now: Timestamp) -> Option<Who> {
        let digest = secret::digest(secret);
        let (who, stale) = self.books().session(&digest, self.idle, now)?;
        self.keep(stale.map(|session| Record::Session(Arc::new(session)))).await;
        Some(who)
    }

    /// Whether whoever asked then may still.
    pub fn still(&self, who: &Who, now: Timestamp) -> bool {
        let books = self.books();
        match (&who.session, &who.token) {
            (Some(digest), _) => books.is_open(digest, self.idle, now),
            (None, Some(id)) => books.token(id).is_some_and(|token| token.holds(now)),
            (None, None) => true,
        }
    }

    /// Who presents this token, from where. The first time in a run it is checked against its hash.
    ///
    /// # Errors
    /// [`AuthError`]; nobody but the bearer of a good token learns which tokens there are.
    pub async fn token(&self, text: &str, from: IpAddr, now: Timestamp) -> Result<Who, AuthError> {
        self.presented(Of::People, text, from, now).await
    }

    /// The same for what polls by itself: with a wrong key it keeps nobody at its address from logging in.
    ///
    /// # Errors
    /// As [`Auth::token`].
    pub async fn bouncer(&self, text: &str, from: IpAddr, now: Timestamp) -> Result<Who, AuthError> {
        self.presented(Of::Bouncers, text, from, now).await
    }

    async fn presented(&self, of: Of, text: &str, from: IpAddr, now: Timestamp) -> Result<Who, AuthError> {
        let digest = secret::digest(text);
        let known = self.books().known(&digest, now);
        if let Some((who, stale)) = known {
            self.keep(stale.map(|token| Record::Token(Arc::new(token)))).await;
            return Ok(who);
        }
        // Whoever has one that is over guesses nothing.
        if self.books().is_checked(&digest) {
            return Err(AuthError::Wrong);
        }
        self.books().lockout(of).may(from, now)?;
        let Some((id, half)) = secret::halves(text) else {
            return Err(self.failed(of, from, now));
        };
        let found = self.books().token(&id).cloned();
        // One that is not there takes as long as one that is.
        let hash = found
            .as_ref()
            .map_or_else(|| self.secrets.nobody().to_owned(), |token| token.hash.clone());
        let right = self.check(half.to_owned(), hash).await?;
        let Some(mut token) = found.filter(|_| right) else {
            return Err(self.failed(of, from, now));
        };
        token.used_at = Some(now);
        let who = {
            let mut books = self.books();
            // It may have been revoked before, or while its hash was computed.
            let who = books.learn(&id, digest, now).ok_or(AuthError::Wrong)?;
            books.lockout(of).succeeded(from);
            who
        };
        self.keep(Some(Record::Token(Arc::new(token)))).await;
        Ok(who)
    }

    /// Begins a session; returns the cookie's value.
    ///
    /// # Errors
    /// As [`Auth::token`]; [`AuthError::Store`] where it cannot be kept.
    pub async fn log_in(&self, login: Login, from: IpAddr, now: Timestamp) -> Result<(String, Who), AuthError> {
        let who = match login {
            Login::Token(text) => {
                let who = self.token(text.trim(), from, now).await?;
                if who.role == Role::Bouncer {
                    return Err(AuthError::Invalid(
                        "a bouncer's token opens no page; log in with one of a person's".to_owned(),
                    ));
                }
                who
            }
            Login::Link(code) => {
                let mut books = self.books();
                books.lockout(Of::People).may(from, now)?;
                if !books.take_link(&secret::digest(&code), now) {
                    drop(books);
                    return Err(self.failed(Of::People, from, now));
                }
                books.lockout(Of::People).succeeded(from);
                Who {
                    actor: "admin (link)".to_owned(),
                    role: Role::Admin,
                    session: None,
                    token: None,
                }
            }
        };
        let value = secret::random()?;
        let session = Session {
            digest: secret::digest(&value),
            actor: who.actor.clone(),
            role: who.role,
            token: who.token,
            began_at: now,
            used_at: now,
        };
        let ended = self.books().begin(session.clone());
        let mut records: Vec<Record> = ended.into_iter().map(Record::EndSession).collect();
        records.push(Record::Session(Arc::new(session.clone())));
        self.commit(records).await?;
        let who = Who {
            actor: session.actor,
            role: session.role,
            session: Some(session.digest),
            token: session.token,
        };
        Ok((value, who))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`AuthError::Store`]; it is over in this run all the same.
    pub async fn log_out(&self, digest: &str) -> Result<(), AuthError> {
        self.books().end(digest);
        self.commit(vec![Record::EndSession(digest.to_owned())]).await
    }

    /// Makes a token; returns it with its text, which is told this once.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] where the name is taken or not one, or there are too many.
    pub async fn create(&self, wish: NewToken, by: &str, now: Timestamp) -> Result<(Token, String), AuthError> {
        is_name(&wish.name)?;
        self.books().may_create(&wish.name, now)?;
        let (id, half) = (secret::id()?, secret::random()?);
        let text = secret::whole(&id, &half);
        let hash = self.hash(half).await?;
        let token = Token {
            id,
            name: wish.name,
            role: wish.role,
            hash,
            created_at: now,
            created_by: by.to_owned(),
            expires_at: wish.duration.map(|length| now.after(length)),
            revoked_at: None,
            used_at: None,
        };
        {
            let mut books = self.books();
            // Somebody else may have taken the name meanwhile.
            books.may_create(&token.name, now)?;
            books.put(token.clone());
        }
        if let Err(error) = self.commit(vec![Record::Token(Arc::new(token.clone()))]).await {
            self.books().forget(&token.id);
            return Err(error);
        }
        Ok((token, text))
    }

    /// Every token, the oldest first.
    pub fn tokens(&self) -> Vec<Token> {
        self.books().tokens()
    }

    /// Revokes a token, by its id or its name, and ends the sessions that began with it.
    ///
    /// # Errors
    /// [`AuthError::NoSuchToken`]; [`AuthError::Store`] where that cannot be kept, though it opens nothing any more.
    pub async fn revoke(&self, which: &str, now: Timestamp) -> Result<Token, AuthError> {
        let (token, ended) = self.books().revoke(which, now).ok_or(AuthError::NoSuchToken)?;
        let mut records = vec![Record::Token(Arc::new(token.clone()))];
        records.extend(ended.into_iter().map(Record::EndSession));
        self.commit(records).await?;
        Ok(token)
    }

    /// A code that logs one browser in as an administrator, once, within [`LINK`].
    ///
    /// # Errors
    /// [`AuthError::Random`].
    pub fn link(&self, now: Timestamp) -> Result<String, AuthError> {
        let code = secret::random()?;
        self.books().put_link(secret::digest(&code), now.after(LINK));
        Ok(code)
    }

    fn failed(&self, of: Of, from: IpAddr, now: Timestamp) -> AuthError {
        self.books().lockout(of).failed(from, now);
        AuthError::Wrong
    }

    async fn check(&self, half: String, hash: String) -> Result<bool, AuthError> {
        let secrets = self.secrets.clone();
        self.compute(move || secrets.verify(&half, &hash)).await
    }

    async fn hash(&self, half: String) -> Result<String, AuthError> {
        let secrets = self.secrets.clone();
        self.compute(move || secrets.hash(&half)).await?
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, AuthError> {
        let place = tokio::time::timeout(QUEUE, Arc::clone(&self.hashes).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(AuthError::Busy);
        };
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        done.await.map_err(|_| AuthError::Busy)
    }

    /// Keeps what need not be awaited to go on.
    async fn keep(&self, record: Option<Record>) {
        if let Some(record) = record
            && let Err(error) = self.store.commit(vec![record]).await
        {
            tracing::debug!(%error, "when a token or session was last used is not kept");
        }
    }

    async fn commit(&self, records: Vec<Record>) -> Result<(), AuthError> {
        let kept = self.store.keep(records).await;
        kept.map_err(|error| AuthError::Store(error.to_string()))
    }
}

fn is_name(name: &str) -> Result<(), AuthError> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.chars().count() > NAME || !name.chars().all(good) {
        return Err(AuthError::Invalid(format!(
            "a token's name has 1 to {NAME} letters, digits, `.`, `_` or `-`"
        )));
    }
    Ok(())
}
