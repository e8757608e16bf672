//! The one provider of cryptography for TLS: ring.
//!
//! In: nothing. Out: a process in which rustls works. Invariant: installed before the first client is built.
//! Deliberately elsewhere: who is spoken to.

/// Installs the provider; more than once is harmless.
pub fn install() {
    // It only fails where one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
