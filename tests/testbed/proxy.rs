//! A door in front of a Unix socket that can be frozen at a chosen request.

use anyhow::Result;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often it is looked whether a frozen or idle connection may go.
const LOOK: Duration = Duration::from_millis(20);

/// Which request everything stops at.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// The requests counted are those that begin so: `POST`, or nothing for all.
    pub begins: &'static str,
    /// How many of them are let through before.
    pub after: u32,
    /// Whether the request itself is carried out, and only its answer withheld.
    pub done: bool,
}

#[derive(Default)]
struct State {
    stop: Mutex<Option<Stop>>,
    seen: AtomicU32,
    frozen: AtomicBool,
    closed: AtomicBool,
}

/// The door.
pub struct Proxy {
    path: PathBuf,
    state: Arc<State>,
}

impl Proxy {
    /// Opens it at `path`, leading to `to`.
    ///
    /// # Errors
    /// When the path is taken.
    pub fn open(path: &Path, to: &Path) -> Result<Self> {
        let listener = UnixListener::bind(path)?;
        let state = Arc::new(State::default());
        let (shared, to) = (Arc::clone(&state), to.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.closed.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, UnixStream::connect(&to)) else {
                    continue;
                };
                serve(&client, &server, &shared);
            }
        });
        Ok(Self {
            path: path.to_owned(),
            state,
        })
    }

    /// Stops at a request from now on.
    pub fn arm(&self, stop: Stop) {
        *self.state.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
        self.state.seen.store(0, Ordering::SeqCst);
        self.state.frozen.store(false, Ordering::SeqCst);
    }

    /// Whether it has stopped.
    pub fn frozen(&self) -> bool {
        self.state.frozen.load(Ordering::SeqCst)
    }

    /// Lets everything through again.
    pub fn thaw(&self) {
        *self.state.stop.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.state.frozen.store(false, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::SeqCst);
        self.thaw();
        let _ = UnixStream::connect(&self.path);
    }
}

fn serve(client: &UnixStream, server: &UnixStream, state: &Arc<State>) {
    let pairs = [(client, server, true), (server, client, false)];
    for (from, to, asks) in pairs {
        let (Ok(mut from), Ok(mut to), state) = (from.try_clone(), to.try_clone(), Arc::clone(state)) else {
            return;
        };
        let _ = from.set_read_timeout(Some(LOOK));
        std::thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while !state.closed.load(Ordering::SeqCst) {
                let read = match from.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => read,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                    Err(_) => break,
                };
                let mut pass = true;
                if asks {
                    pass = state.admits(&buffer[..read]);
                } else if state.frozen.load(Ordering::SeqCst) {
                    pass = false;
                }
                // What is withheld is withheld for good: who asked is to be killed.
                if pass && to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

impl State {
    /// Whether what a client sends is passed on.
    fn admits(&self, bytes: &[u8]) -> bool {
        if self.frozen.load(Ordering::SeqCst) {
            return false;
        }
        let Some(stop) = *self.stop.lock().unwrap_or_else(PoisonError::into_inner) else {
            return true;
        };
        let begins = ["GET ", "POST "].iter().any(|verb| bytes.starts_with(verb.as_bytes()));
        if !begins || !bytes.starts_with(stop.begins.as_bytes()) {
            return true;
        }
        if self.seen.fetch_add(1, Ordering::SeqCst) < stop.after {
            return true;
        }
        self.frozen.store(true, Ordering::SeqCst);
        stop.done
    }
}
