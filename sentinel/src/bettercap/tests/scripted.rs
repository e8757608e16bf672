//! A Bettercap for tests: it answers as 2.32 does, or as it is told to.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Nothing.
    Good,
    /// Takes the request, and answers so much later.
    Slow(Duration),
    /// Answers this to everything.
    Says(u16, String),
    /// Says yes to this command, and does not do it.
    Lies(&'static str),
    /// Breaks off after so many more commands, each done.
    Dies(usize),
    /// Counts the target in whatever it is told.
    Adds(&'static str),
}

/// How it stands.
pub(crate) struct Stage {
    pub(crate) mood: Mood,
    pub(crate) targets: String,
    pub(crate) running: bool,
    pub(crate) gateway: String,
    pub(crate) hosts: Vec<String>,
    /// What it was told, in order.
    pub(crate) told: Vec<String>,
    /// Requests in all.
    pub(crate) asked: usize,
    /// Targets with which it was started, each time.
    pub(crate) started: Vec<String>,
}

/// The server.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) at: SocketAddr,
    stage: Arc<Mutex<Stage>>,
}

pub(crate) const SUBNET: &str = "<entire subnet>";

impl Scripted {
    /// Listens, and logs in `joe` with `hunter2`.
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let server = Self {
            at: listener.local_addr().unwrap(),
            stage: Arc::new(Mutex::new(Stage {
                mood: Mood::Good,
                targets: SUBNET.to_owned(),
                running: false,
                gateway: "192.0.2.1".to_owned(),
                hosts: vec!["192.0.2.7".to_owned(), "192.0.2.8".to_owned()],
                told: Vec::new(),
                asked: 0,
                started: Vec::new(),
            })),
        };
        let own = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let own = own.clone();
                std::thread::spawn(move || own.serve(stream.unwrap()));
            }
        });
        server
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Stage) -> T) -> T {
        change(&mut self.stage.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.with(|stage| std::mem::take(&mut stage.told))
    }

    fn serve(&self, mut stream: TcpStream) {
        let (mut text, mut piece) = (String::new(), [0; 4096]);
        let whole = loop {
            if let Some(at) = text.find("\r\n\r\n") {
                let length = text.to_lowercase();
                let length = length.split("content-length: ").nth(1);
                let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
                if text.len() >= at + 4 + length.unwrap_or(0) {
                    break text.split_off(at + 4);
                }
            }
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(n) => text.push_str(&String::from_utf8_lossy(&piece[..n])),
            }
        };
        let mood = self.with(|stage| {
            stage.asked += 1;
            stage.mood.clone()
        });
        if let Mood::Slow(time) = mood {
            std::thread::park_timeout(time);
        }
        let (status, body) = match &mood {
            Mood::Says(status, body) => (*status, body.clone()),
            // joe:hunter2
            _ if !text.contains("Basic am9lOmh1bnRlcjI=") => (401, "Unauthorized".to_owned()),
            _ if text.starts_with("GET") => (200, self.with(|stage| session(stage)).to_string()),
            _ => {
                let said: Value = serde_json::from_str(&whole).unwrap();
                match self.with(|stage| run(stage, said["cmd"].as_str().unwrap())) {
                    None => return,
                    Some(answer) => answer,
                }
            }
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
    }
}

fn session(stage: &Stage) -> Value {
    let host = |ip: &String| json!({ "ipv4": ip, "mac": "02:00:00:00:00:07" });
    json!({
        "interface": { "ipv4": "192.0.2.2", "mac": "02:00:00:00:00:02" },
        "gateway": { "ipv4": stage.gateway, "mac": "02:00:00:00:00:01" },
        "interfaces": [{ "name": "lo", "addresses": null }, { "name": "v0", "addresses": [{ "address": "192.0.2.2/24", "type": "ip+net" }] }],
        "env": { "data": {
            "arp.spoof.targets": stage.targets, "arp.spoof.fullduplex": "false", "arp.spoof.internal": "false",
            "arp.spoof.skip_restore": "false", "arp.spoof.whitelist": "",
        } },
        "lan": { "hosts": stage.hosts.iter().map(host).collect::<Vec<_>>() },
        "modules": [{ "name": "net.recon", "running": true }, { "name": "arp.spoof", "running": stage.running }],
    })
}

/// What it answers to a command; nothing where it dies of it.
fn run(stage: &mut Stage, command: &str) -> Option<(u16, String)> {
    stage.told.push(command.to_owned());
    let yes = Some((200, json!({ "success": true, "msg": "" }).to_string()));
    let no = |said: &str| Some((400, said.to_owned()));
    if matches!(stage.mood, Mood::Lies(word) if command.starts_with(word)) {
        return yes;
    }
    if let Some(list) = command.strip_prefix("set arp.spoof.targets ") {
        stage.targets = list.to_owned();
        if let Mood::Adds(more) = stage.mood {
            stage.targets = format!("{list},{more}");
        }
    } else if command == "arp.ban on" {
        if stage.running {
            return no("module arp.spoof is already running");
        }
        stage.running = true;
        stage.started.push(stage.targets.clone());
    } else if command == "arp.ban off" {
        if !stage.running {
            return no("module arp.spoof is not running");
        }
        stage.running = false;
    } else {
        return no("unknown or invalid syntax");
    }
    if let Mood::Dies(left) = &mut stage.mood {
        *left = left.saturating_sub(1);
        if *left == 0 {
            return None;
        }
    }
    yes
}
