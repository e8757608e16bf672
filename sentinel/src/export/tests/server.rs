//! An HTTP server that answers as a test tells it to.

use flate2::read::GzDecoder;
use std::collections::HashMap;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) path: String,
    /// By their names in small letters.
    pub(super) headers: HashMap<String, String>,
    /// Decompressed.
    pub(super) body: String,
}

/// What is answered.
pub(super) enum Say {
    /// A status, further header lines, a body.
    Answer(u16, &'static str, String),
    /// Nothing, ever.
    Hang,
}

type Script = dyn FnMut(&Request) -> Say + Send;

/// Listens until the test ends.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(script: impl FnMut(&Request) -> Say + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script: Arc<Mutex<Box<Script>>> = Arc::new(Mutex::new(Box::new(script)));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let script = Arc::clone(&script);
                tokio::spawn(async move { serve(stream, &script).await });
            }
        });
        Self { address, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, script: &Mutex<Box<Script>>) -> Option<()> {
    let mut bytes = Vec::new();
    let head = loop {
        stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut request_lines = text.split("\r\n");
    let path = request_lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: HashMap<String, String> = request_lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length")?.parse().ok()?;
    while bytes.len() < head + 4 + length {
        stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
    }
    let body = &bytes[head + 4..];
    let body = if headers.get("content-encoding").is_some_and(|coding| coding == "gzip") {
        let mut text = String::new();
        GzDecoder::new(body).read_to_string(&mut text).ok()?;
        text
    } else {
        String::from_utf8(body.to_vec()).ok()?
    };
    let said = script.lock().unwrap()(&Request { path, headers, body });
    match said {
        Say::Answer(status, more, body) => {
            let answer = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n{more}\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
        Say::Hang => std::future::pending::<()>().await,
    }
    Some(())
}
