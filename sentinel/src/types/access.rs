//! Who may ask for what: roles, tokens, sessions of browsers.

use super::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// What somebody may do; each may also do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Ask which decisions are in force, as a bouncer of CrowdSec does, and nothing else.
    Bouncer,
    /// Look.
    Viewer,
    /// Act: block, take back, allow, stop.
    Operator,
    /// Say who may.
    Admin,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 4] = [Self::Bouncer, Self::Viewer, Self::Operator, Self::Admin];

    /// The name used in the API and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bouncer => "bouncer",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        all.find(|role| role.as_str() == text)
            .ok_or_else(|| "it is none of `bouncer`, `viewer`, `operator` and `admin`".to_owned())
    }
}

/// A token's public half, by which it is found: eight random bytes in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct TokenId(pub String);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is kept of a token. The secret half is only known to whoever has the token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// By which it is found.
    pub id: TokenId,
    /// What the audit calls its bearer.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// Of the secret half: a PHC string of argon2id (RFC 9106).
    pub hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to within some minutes.
    pub used_at: Option<Timestamp>,
}

impl Token {
    /// Whether it opens anything at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

// The hash is no secret by itself, but nobody's business.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// A browser that logged in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// SHA-256 of the cookie's value, in hexadecimal; the value is 256 random bits.
    pub digest: String,
    /// What the audit calls whoever it is.
    pub actor: String,
    /// What they may do.
    pub role: Role,
    /// The token they logged in with; it ends with that.
    pub token: Option<TokenId>,
    /// Since when.
    pub began_at: Timestamp,
    /// When it was last used, to within some minutes.
    pub used_at: Timestamp,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("actor", &self.actor)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}
