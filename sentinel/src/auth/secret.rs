//! Secrets: how they look, how they are made and what is kept of them.
//!
//! A token is `sntl_ID_SECRET`: eight bytes to find it by, 32 that only its bearer has, in hexadecimal.

use super::AuthError;
use crate::types::{TokenId, hex};
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use sha2::{Digest, Sha256};
use std::fmt;

const PREFIX: &str = "sntl_";
const ID: usize = 8;
const SECRET: usize = 32;

/// How secrets are hashed: argon2id (RFC 9106).
#[derive(Clone)]
pub struct Secrets {
    argon2: Argon2<'static>,
    /// A hash of nothing anybody has.
    nobody: String,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// As OWASP recommends: 19 MiB, two passes, one lane.
    ///
    /// # Errors
    /// [`AuthError::Random`], [`AuthError::Hash`].
    pub fn new() -> Result<Self, AuthError> {
        Self::with(Params::default())
    }

    /// Fast ones, for tests only.
    #[cfg(test)]
    pub fn weak() -> Self {
        Self::with(Params::new(8, 1, 1, None).unwrap()).unwrap()
    }

    fn with(params: Params) -> Result<Self, AuthError> {
        let mut secrets = Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            nobody: String::new(),
        };
        secrets.nobody = secrets.hash(&random()?)?;
        Ok(secrets)
    }

    pub(super) fn hash(&self, secret: &str) -> Result<String, AuthError> {
        let hash: PasswordHash = self
            .argon2
            .hash_password(secret.as_bytes())
            .map_err(|error| AuthError::Hash(error.to_string()))?;
        Ok(hash.to_string())
    }

    pub(super) fn verify(&self, secret: &str, hash: &str) -> bool {
        let Ok(hash) = PasswordHash::new(hash) else {
            return false;
        };
        self.argon2.verify_password(secret.as_bytes(), &hash).is_ok()
    }

    pub(super) fn nobody(&self) -> &str {
        &self.nobody
    }
}

/// SHA-256 in hexadecimal: enough for what has 256 random bits, and by it a checked token is known again.
pub(super) fn digest(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// 256 random bits in hexadecimal.
pub(super) fn random() -> Result<String, AuthError> {
    bytes::<SECRET>().map(|bytes| hex(&bytes))
}

pub(super) fn id() -> Result<TokenId, AuthError> {
    bytes::<ID>().map(|bytes| TokenId(hex(&bytes)))
}

fn bytes<const N: usize>() -> Result<[u8; N], AuthError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| AuthError::Random(error.to_string()))?;
    Ok(bytes)
}

pub(super) fn whole(id: &TokenId, half: &str) -> String {
    format!("{PREFIX}{id}_{half}")
}

/// A token's two halves, where it looks like one.
pub(super) fn halves(text: &str) -> Option<(TokenId, &str)> {
    let (id, half) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let is_hex = |text: &str, bytes: usize| text.len() == 2 * bytes && text.bytes().all(|b| b.is_ascii_hexdigit());
    (is_hex(id, ID) && is_hex(half, SECRET)).then(|| (TokenId(id.to_owned()), half))
}
