//! The dashboard of an agent in a namespace, brought to the host's loopback.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where it listens if that port is free; else one of the next.
const PORT: u16 = 8000;
const PORTS: u16 = 50;
/// Connections at once; a browser opens half a dozen.
const MAX_OPEN: usize = 64;

/// Listens on loopback and carries bytes to `socket` until the process ends.
///
/// # Errors
/// When no port is free.
pub(super) fn start(socket: &Path) -> Result<SocketAddr> {
    let listener = (PORT..PORT + PORTS).find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    let listener = listener.with_context(|| format!("no port from {PORT} on is free"))?;
    let address = listener.local_addr()?;
    let socket = socket.to_owned();
    std::thread::Builder::new()
        .name("relay".into())
        .spawn(move || accept(&listener, &socket))?;
    Ok(address)
}

fn accept(listener: &TcpListener, socket: &Path) {
    let open = Arc::new(AtomicUsize::new(0));
    for client in listener.incoming().flatten() {
        if open.fetch_add(1, Ordering::Relaxed) >= MAX_OPEN {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (socket, open) = (socket.to_owned(), Arc::clone(&open));
        let carry = move || {
            let _ = carry(&client, &socket);
            open.fetch_sub(1, Ordering::Relaxed);
        };
        // A thread that cannot be had costs this connection; the browser tries again.
        let _ = std::thread::Builder::new().name("relay".into()).spawn(carry);
    }
}

fn carry(client: &TcpStream, socket: &PathBuf) -> Result<()> {
    let agent = UnixStream::connect(socket)?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            copy(client, &agent);
            let _ = agent.shutdown(Shutdown::Write);
        });
        copy(&agent, client);
        let _ = client.shutdown(Shutdown::Both);
    });
    Ok(())
}

fn copy(mut from: impl Read, mut to: impl Write) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}
