//! Taking the two doors: a loopback port, and a unix socket that only its owner can open, or members of one group too.

use super::error::ApiError;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use nix::unistd::{Gid, Group};
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Connections at the same time per door; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 512;

/// A connection to which nothing could be written for this long is closed, so that nobody keeps places by asking nothing,
/// by asking ever so slowly, or by not listening. Every request is answered sooner, every stream says something sooner.
const SILENCE: Duration = Duration::from_mins(1);

/// Longest path of a unix socket (`sun_path` of unix(7) less its zero), bytes.
const SOCKET_PATH: usize = 107;

/// Takes the port; elsewhere than on loopback only where what is said there is `secret`.
///
/// # Errors
/// [`ApiError`] when it is not on loopback, in use, or not ours to take.
pub(super) async fn tcp(address: SocketAddr, secret: bool) -> Result<TcpListener, ApiError> {
    if !address.ip().is_loopback() && !secret {
        return Err(ApiError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => ApiError::Occupied(address),
        _ => ApiError::Bind { address, source },
    })
}

/// Takes the socket, in place of a stale one; members of `group` can open it too, where one is named.
///
/// # Errors
/// [`ApiError`] when somebody answers on it, something else lies there, or it cannot be made.
pub(super) async fn unix(path: &Path, group: &str) -> Result<UnixListener, ApiError> {
    let failed = |cause: String| ApiError::Socket {
        path: path.into(),
        cause,
    };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(ApiError::NotASocket(path.into())),
        Ok(_) => match tokio::net::UnixStream::connect(path).await {
            Ok(_) => return Err(ApiError::SocketInUse(path.into())),
            // Whoever listens has more callers than it takes.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ApiError::SocketInUse(path.into())),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {}
            Err(error) => return Err(failed(format!("whether somebody answers on it is not known: {error}"))),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error.to_string())),
    }
    let group = match group {
        "" => None,
        name => match Group::from_name(name) {
            Ok(Some(group)) => Some(group.gid),
            _ => {
                return Err(failed(format!(
                    "there is no group `{name}`, which `api.socket_group` names; `groupadd --system {name}` makes it"
                )));
            }
        },
    };
    let directory = path
        .parent()
        .filter(|d| !d.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Bound in a private directory and moved out with its final mode: at no time can anybody else connect.
    let nursery = directory.join(format!(".sock{}", std::process::id()));
    let born = nursery.join("s");
    let longest = path.as_os_str().len().max(born.as_os_str().len());
    if longest > SOCKET_PATH {
        return Err(failed(format!("the path is longer than {SOCKET_PATH} bytes")));
    }
    let made = make(directory, &nursery, &born, path, group);
    // Nothing is left in it unless making failed.
    let _ = fs::remove_file(&born);
    let _ = fs::remove_dir(&nursery);
    made.map_err(|e| failed(e.to_string()))
}

fn make(directory: &Path, nursery: &Path, born: &Path, path: &Path, group: Option<Gid>) -> io::Result<UnixListener> {
    DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
    DirBuilder::new().mode(0o700).create(nursery)?;
    let listener = UnixListener::bind(born)?;
    // Where it is that group's already nothing has to be asked for, which a filter of system calls may forbid.
    if let Some(group) = group
        && fs::metadata(born)?.gid() != group.as_raw()
    {
        std::os::unix::fs::chown(born, None, Some(group.as_raw()))?;
    }
    fs::set_permissions(
        born,
        Permissions::from_mode(if group.is_some() { 0o660 } else { 0o600 }),
    )?;
    fs::rename(born, path)?;
    Ok(listener)
}

/// Removes the socket with the server.
pub(super) struct Unlink(pub(super) PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Where a connection came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Who opened the socket, as the kernel says.
#[derive(Clone, Copy, Debug)]
pub(super) struct User(pub(super) Option<u32>);

impl Connected<IncomingStream<'_, Bounded<UnixListener>>> for User {
    fn connect_info(stream: IncomingStream<'_, Bounded<UnixListener>>) -> Self {
        Self(stream.io().io.peer_cred().ok().map(|peer| peer.uid()))
    }
}

impl Connected<IncomingStream<'_, Bounded<TcpListener>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded<TcpListener>>) -> Self {
        Self(stream.remote_addr().ip())
    }
}

/// A listener with a bound on its connections.
pub(super) struct Bounded<L> {
    inner: L,
    places: Arc<Semaphore>,
    silence: Duration,
}

impl<L> Bounded<L> {
    pub(super) fn new(inner: L) -> Self {
        Self::with(inner, CONNECTIONS, SILENCE)
    }

    fn with(inner: L, places: usize, silence: Duration) -> Self {
        Self {
            inner,
            places: Arc::new(Semaphore::new(places)),
            silence,
        }
    }
}

impl<L: Listener> Listener for Bounded<L>
where
    L::Io: Unpin,
{
    type Io = Placed<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // The semaphore is never closed; without a place the connection would only go uncounted.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (io, address) = self.inner.accept().await;
        let placed = Placed {
            io,
            silence: self.silence,
            deadline: Box::pin(sleep(self.silence)),
            _place: place,
        };
        (placed, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// A connection that holds its place, for as long as it has something to say to the other side.
pub(super) struct Placed<I> {
    io: I,
    silence: Duration,
    deadline: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<I> Placed<I> {
    /// Nothing happened: an error once that has gone on for too long.
    fn patience<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.deadline
            .as_mut()
            .poll(cx)
            .map(|()| Err(ErrorKind::TimedOut.into()))
    }

    fn heard(&mut self) {
        let deadline = Instant::now() + self.silence;
        self.deadline.as_mut().reset(deadline);
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Placed<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        // What was read buys no time: a request may come byte by byte.
        if self.deadline.is_elapsed() || read.is_pending() {
            return self.patience(cx);
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Placed<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        match written {
            Poll::Ready(_) => self.heard(),
            Poll::Pending => return self.patience(cx),
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    const HEAD: &str = "GET / HTTP/1.1\r\nhost: localhost\r\n";

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let busy = tokio::net::UnixSocket::new_stream().unwrap();
        busy.bind(&path).unwrap();
        let busy = busy.listen(0).unwrap();
        // Until it takes no more.
        let mut callers = Vec::new();
        let full = loop {
            match tokio::net::UnixStream::connect(&path).await {
                Ok(caller) => callers.push(caller),
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock, "{full}");
        let taken = unix(&path, "").await;
        assert!(matches!(taken, Err(ApiError::SocketInUse(_))), "{taken:?}");

        drop((busy, callers));
        unix(&path, "").await.unwrap();

        // Somebody's, of whom this does not ask.
        let other = dir.path().join("other");
        let _datagrams = std::os::unix::net::UnixDatagram::bind(&other).unwrap();
        let taken = unix(&other, "").await;
        assert!(matches!(taken, Err(ApiError::Socket { .. })), "{taken:?}");
    }

    #[tokio::test]
    async fn nobody_keeps_a_place_by_dawdling() {
        let silence = Duration::from_secs(5);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let serving = tokio::spawn(axum::serve(Bounded::with(listener, 2, silence), router).into_future());

        // Both places are taken: by one that says nothing, and one that says a byte at a time.
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(HEAD.as_bytes()).await.unwrap();
        let dripping = tokio::spawn(async move {
            while slow.write_all(b"x").await.is_ok() {
                sleep(silence / 50).await;
            }
        });
        let asked = async {
            let mut honest = TcpStream::connect(address).await.unwrap();
            honest.write_all(format!("{HEAD}\r\n").as_bytes()).await.unwrap();
            let mut answer = vec![0; 15];
            honest.read_exact(&mut answer).await.unwrap();
            // Who talks keeps its place for longer than that.
            for _ in 0..15 {
                sleep(silence / 10).await;
                honest.write_all(format!("{HEAD}\r\n").as_bytes()).await.unwrap();
                let mut more = [0; 512];
                assert!(honest.read(&mut more).await.unwrap() > 0);
            }
            answer
        };
        let answer = tokio::time::timeout(20 * silence, asked).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 200 OK");
        let gone = tokio::time::timeout(10 * silence, silent.read(&mut [0; 1]))
            .await
            .unwrap();
        assert!(gone.map_or(true, |n| n == 0));
        tokio::time::timeout(10 * silence, dripping).await.unwrap().unwrap();
        serving.abort();
    }
}
