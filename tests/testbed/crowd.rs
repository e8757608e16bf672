//! A crowd at the agent's socket: requests at a steady rate, and readers of the live stream.
//!
//! In: a socket, how many of each, and for how long. Out: how they were served. Invariant: bounded in number, rate and
//! time. Deliberately elsewhere: what is good enough.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// What is asked, in turn.
const PATHS: [&str; 5] = [
    "/stats",
    "/health",
    "/alerts?limit=20",
    "/decisions?active=true&limit=20",
    "/flows/top?limit=10",
];
/// For one answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// A key as RFC 6455 wants one; the answer to it is not looked at.
const UPGRADE: &str = "GET /stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// How many come.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Requests a second.
    pub per_second: u32,
    /// Readers of the stream, all the while.
    pub readers: usize,
}

/// How they were served.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// Status 200.
    pub answered: u64,
    /// Another status, by its first three digits, and what failed altogether.
    pub other: Vec<String>,
    /// Answered within so much, half and 99 of 100.
    pub p50: Duration,
    /// See above.
    pub p99: Duration,
    /// Readers that were let in.
    pub readers: usize,
    /// Of these, who was cut off before the end.
    pub cut: u64,
    /// What all readers were told, bytes.
    pub told: u64,
}

#[derive(Debug, Default)]
struct Books {
    took: Mutex<Vec<Duration>>,
    other: Mutex<Vec<String>>,
    cut: AtomicU64,
    told: AtomicU64,
    over: AtomicBool,
}

/// Comes, asks and reads until `going` is false.
///
/// # Errors
/// When a reader is not let in.
pub fn come(socket: &Path, size: Size, going: impl Fn() -> bool) -> Result<Served> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(crowd(socket, size, going))
}

async fn crowd(socket: &Path, size: Size, going: impl Fn() -> bool) -> Result<Served> {
    let books = Arc::new(Books::default());
    let mut readers = JoinSet::new();
    for number in 0..size.readers {
        let stream = admitted(socket).await.with_context(|| format!("reader {number}"))?;
        readers.spawn(read(stream, Arc::clone(&books)));
    }
    let mut asking = JoinSet::new();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / size.per_second.max(1));
    let mut number = 0;
    while going() {
        pace.tick().await;
        asking.spawn(ask(socket.to_owned(), PATHS[number % PATHS.len()], Arc::clone(&books)));
        number += 1;
        while asking.try_join_next().is_some() {}
    }
    while asking.join_next().await.is_some() {}
    books.over.store(true, Ordering::Relaxed);
    readers.abort_all();
    let lock = PoisonError::into_inner;
    let mut took = std::mem::take(&mut *books.took.lock().unwrap_or_else(lock));
    took.sort();
    let quantile = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or_default();
    Ok(Served {
        answered: took.len() as u64,
        other: std::mem::take(&mut *books.other.lock().unwrap_or_else(PoisonError::into_inner)),
        p50: quantile(50),
        p99: quantile(99),
        readers: size.readers,
        cut: books.cut.load(Ordering::Relaxed),
        told: books.told.load(Ordering::Relaxed),
    })
}

async fn admitted(socket: &Path) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(UPGRADE.as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    ensure!(&head == b"HTTP/1.1 101", "{}", String::from_utf8_lossy(&head));
    Ok(stream)
}

async fn read(mut stream: UnixStream, books: Arc<Books>) {
    let mut buffer = [0; 16_384];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                books.told.fetch_add(length as u64, Ordering::Relaxed);
            }
        }
    }
    if !books.over.load(Ordering::Relaxed) {
        books.cut.fetch_add(1, Ordering::Relaxed);
    }
}

async fn ask(socket: std::path::PathBuf, path: &'static str, books: Arc<Books>) {
    let start = Instant::now();
    let exchange = async {
        let mut stream = UnixStream::connect(&socket).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let outcome = tokio::time::timeout(PATIENCE, exchange).await;
    let failed = match outcome {
        Ok(Ok(answer)) if answer.get(9..12) == Some(b"200") => {
            let mut took = books.took.lock().unwrap_or_else(PoisonError::into_inner);
            return took.push(start.elapsed());
        }
        Ok(Ok(answer)) => String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer".to_owned(),
    };
    let mut other = books.other.lock().unwrap_or_else(PoisonError::into_inner);
    other.push(format!("{path}: {failed}"));
}
