//! The one provider of cryptography for TLS: ring.
//!
//! In: errors of rustls. Out: a process in which rustls works; what went wrong, in words. Invariant: installed before the first client is built.
//! Deliberately elsewhere: who is spoken to.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::ConfigVerifierExt;
use std::path::Path;
use std::sync::Arc;

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

/// What a client trusts: the certificates of a file (PEM), or those of this machine.
///
/// A certificate of the file that a server shows as its own is trusted whatever name is in it: tools that make their own
/// put none there.
///
/// # Errors
/// In fixed words, where there is nothing to trust.
pub fn client(file: Option<&Path>) -> Result<ClientConfig, &'static str> {
    install();
    let Some(file) = file else {
        return ClientConfig::with_platform_verifier()
            .map_err(|_| "this machine has no certificates to trust (install its `ca-certificates`)");
    };
    let wrong = "the file of certificates holds none in PEM";
    let mut trusted = RootCertStore::empty();
    let mut pinned = Vec::new();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|_| wrong)? {
        let certificate = certificate.map_err(|_| wrong)?;
        // One that is no authority's can only be the server's own.
        let _ = trusted.add(certificate.clone());
        pinned.push(certificate);
    }
    if pinned.is_empty() {
        return Err(wrong);
    }
    let builder = ClientConfig::builder();
    let provider = Arc::clone(builder.crypto_provider());
    let verifier = Pinned {
        by_name: WebPkiServerVerifier::builder(Arc::new(trusted)).build().ok(),
        certificates: pinned,
        provider,
    };
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// Trusts the very certificates it was given, and what they signed.
#[derive(Debug)]
struct Pinned {
    by_name: Option<Arc<WebPkiServerVerifier>>,
    certificates: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.certificates.iter().any(|pinned| pinned == end) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.by_name {
            Some(by_name) => by_name.verify_server_cert(end, between, name, ocsp, now),
            None => Err(rustls::Error::InvalidCertificate(
                rustls::CertificateError::UnknownIssuer,
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
