//! The one provider of cryptography for TLS: ring.
//!
//! In: errors of rustls. Out: a process in which rustls works; what went wrong, in words. Invariant: installed before the first client is built.
//! Deliberately elsewhere: who is spoken to.

/// Installs the provider; more than once is harmless.
pub fn install() {
    // It only fails where one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// What went wrong in fixed words: rustls repeats names the server sent.
pub const fn words(error: &rustls::Error) -> &'static str {
    use rustls::CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            Bad::Expired | Bad::ExpiredContext { .. } => "TLS: its certificate has expired; check this machine's clock",
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "TLS: its certificate is for another name",
            Bad::UnknownIssuer => "TLS: its certificate is signed by nobody this machine trusts",
            _ => "TLS: its certificate is not valid",
        },
        _ => "TLS: no handshake",
    }
}
