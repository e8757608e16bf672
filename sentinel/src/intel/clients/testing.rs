//! A provider for tests: real connections on loopback, answers by script.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What is done with every connection once its request was read.
#[derive(Clone)]
pub(crate) enum Script {
    /// These bytes, and the connection is closed.
    Say(Vec<u8>),
    /// The same after a while.
    SayAfter(Duration, Vec<u8>),
    /// The same before anything was asked.
    Greet(Vec<u8>),
    /// Nothing, for as long as the client likes.
    Hang,
    /// These bytes, then these others again and again, until the client has had enough.
    Endless(Vec<u8>, Vec<u8>),
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    connections: AtomicU64,
    hung_up_on: AtomicU64,
}

/// A server that ends when it is dropped.
pub(crate) struct Server {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(script: Script) -> Self {
        Self::with(script, None).await
    }

    /// One that speaks TLS, and would speak HTTP/2.
    pub(crate) async fn start_tls(script: Script, certificate: &[u8], key: &[u8]) -> Self {
        crate::tls::install();
        let chain = vec![certificate.to_vec().into()];
        let mut tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key.to_vec().try_into().unwrap())
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self::with(script, Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn with(script: Script, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Seen::default());
        let task = tokio::spawn(serve(listener, tls, script, seen.clone()));
        Self { url, seen, task }
    }

    /// The heads of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> u64 {
        self.seen.connections.load(SeqCst)
    }

    /// Connections the client gave up while there was more to say.
    pub(crate) fn hung_up_on(&self) -> u64 {
        self.seen.hung_up_on.load(SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, script: Script, seen: Arc<Seen>) {
    while let Ok((stream, _)) = listener.accept().await {
        seen.connections.fetch_add(1, SeqCst);
        let (tls, script, seen) = (tls.clone(), script.clone(), seen.clone());
        tokio::spawn(async move {
            match tls {
                Some(tls) => answer(tls.accept(stream).await?, script, seen).await,
                None => answer(stream, script, seen).await,
            }
        });
    }
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: Script,
    seen: Arc<Seen>,
) -> std::io::Result<()> {
    if let Script::Greet(bytes) = script {
        stream.write_all(&bytes).await?;
        return stream.shutdown().await;
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).trim_end().to_owned();
    seen.requests.lock().unwrap().push(head);
    match script {
        Script::Say(bytes) | Script::Greet(bytes) => stream.write_all(&bytes).await?,
        Script::SayAfter(wait, bytes) => {
            tokio::time::sleep(wait).await;
            stream.write_all(&bytes).await?;
        }
        Script::Hang => {
            let _ = stream.read_u8().await;
        }
        Script::Endless(first, again) => {
            stream.write_all(&first).await?;
            while stream.write_all(&again).await.is_ok() {}
            seen.hung_up_on.fetch_add(1, SeqCst);
        }
    }
    stream.shutdown().await
}

/// An answer with its length, after which the connection is closed.
pub(crate) fn http(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        out.extend([name, ": ", value, "\r\n"]);
    }
    out += "\r\n";
    [out.as_bytes(), body].concat()
}

/// Status 200 with JSON.
pub(crate) fn json(body: &str) -> Vec<u8> {
    http("200 OK", &[("Content-Type", "application/json")], body.as_bytes())
}

/// A port of loopback on which nobody listens.
pub(crate) async fn deserted() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
