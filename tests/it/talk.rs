//! Somebody who talks with the protected host all the while, and a service that answers.

use crate::scene::SOON;
use testbed::child::Child;
use testbed::net::Host;
use testbed::wait;

/// Where the conversation is had.
pub(crate) const PORT: u16 = 7000;

/// Says back whatever it hears at a port.
pub(crate) const ECHO: &str = "
import socket, sys, threading
def serve(c):
    with c:
        while data := c.recv(4096): c.sendall(data)
with socket.create_server(('', int(sys.argv[1])), backlog=1024) as s:
    print('listening', flush=True)
    while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
";
/// Asks every 20 ms on one connection to an address and port, from a port of its own, and says how often it was answered
/// once it is interrupted.
pub(crate) const TALK: &str = "
import signal, socket, sys, time
going = [True]
signal.signal(signal.SIGINT, lambda *_: going.clear())
s = socket.socket()
s.bind(('', int(sys.argv[3])))
s.connect((sys.argv[1], int(sys.argv[2])))
s.settimeout(60)
n = 0
while going:
    time.sleep(0.02)
    word = b'%08d' % n
    s.sendall(word)
    got = b''
    while len(got) < 8:
        more = s.recv(8 - len(got))
        assert more, 'closed'
        got += more
    assert got == word, got
    n += 1
    if n == 1: print('talking', flush=True)
print('answered', n, flush=True)
";

pub(crate) fn python(host: &Host, script: &str, args: &[&str]) -> Child {
    Child::spawn(host.program("python3", &[&["-c", script], args].concat())).expect("python3")
}

/// Waits until it says a word.
pub(crate) fn says(child: &mut Child, word: &str) {
    let said = wait::until(word, SOON, || Ok(child.output().contains(word).then_some(())));
    said.unwrap_or_else(|error| panic!("{error:#}: {}", child.output()));
}
