//! TLS in front of the port: handshakes side by side, bounded in number and time.

use super::bind::{Bounded, Peer, Placed};
use super::error::ApiError;
use crate::config::ApiConfig;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The certificate of the settings, read; `None` where there is none.
///
/// # Errors
/// [`ApiError::Certificate`], which names the file and the mend.
pub(super) fn acceptor(config: &ApiConfig) -> Result<Option<TlsAcceptor>, ApiError> {
    let (Some(certificate), Some(key)) = (&config.certificate, &config.private_key) else {
        return Ok(None);
    };
    crate::tls::install();
    let refused = |path: &Path, cause: String| ApiError::Certificate {
        path: path.to_owned(),
        cause,
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refused(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(refused(certificate, "there is no certificate in it".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| refused(key, error.to_string()))?;
    let mut tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| refused(certificate, error.to_string()))?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(tls))))
}

type Secret = TlsStream<Placed<TcpStream>>;
type Shaken = Option<(Secret, SocketAddr)>;

/// A listener whose connections are secret by the time they are accepted. Whoever has a place and is not done has it only
/// for the handshake's patience.
pub(super) struct Secured {
    inner: Bounded<TcpListener>,
    acceptor: TlsAcceptor,
    shaking: FuturesUnordered<BoxFuture<'static, Shaken>>,
}

impl Secured {
    pub(super) fn new(inner: Bounded<TcpListener>, acceptor: TlsAcceptor) -> Self {
        Self {
            inner,
            acceptor,
            shaking: FuturesUnordered::new(),
        }
    }
}

impl Listener for Secured {
    type Io = Secret;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Secret, SocketAddr) {
        loop {
            tokio::select! {
                (io, address) = self.inner.accept() => {
                    let shaking = self.acceptor.accept(io);
                    self.shaking.push(Box::pin(async move {
                        match timeout(PATIENCE, shaking).await {
                            Ok(Ok(secret)) => Some((secret, address)),
                            // Scanners and plain HTTP are everyday sights.
                            Ok(Err(error)) => {
                                tracing::debug!(%error, %address, "no TLS");
                                None
                            }
                            Err(_) => None,
                        }
                    }));
                }
                Some(done) = self.shaking.next(), if !self.shaking.is_empty() => {
                    if let Some(shaken) = done {
                        return shaken;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

impl Connected<IncomingStream<'_, Secured>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Secured>) -> Self {
        Self(stream.remote_addr().ip())
    }
}
