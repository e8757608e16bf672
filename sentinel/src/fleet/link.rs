//! The Redis: two connections, one that waits for news and one for all else, and what is said on them.
//!
//! Keys, all in one slot of a cluster for the braces: `{PREFIX}:log`, the stream of words; `{PREFIX}:words`, the latest word on
//! each subject, and `{PREFIX}:ends`, when each is over; `{PREFIX}:nodes`, who is there; `{PREFIX}:alerts`, a stream.

use super::word::{AHEAD, LONGEST};
use crate::config::{FleetConfig, RedisKind, RedisPlace};
use crate::files;
use crate::types::{FleetWord, Secret};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::streams::{StreamRangeReply, StreamReadReply};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, RedisFuture, RedisResult, Script, ServerErrorKind, TlsCertificates, TlsMode,
    Value,
};
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;

/// How long making a connection may take, and how long an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one question for news waits for them at the server, ms.
const BLOCK_MS: u64 = 1000;
/// Entries read at once.
pub(super) const BATCH: usize = 256;
/// The first release with streams.
const OLDEST: (u32, u32) = (5, 0);
/// Longest file of certificates, bytes.
const CERTIFICATES: u64 = 1 << 20;
/// Nodes that are read.
const NODES: usize = 10_000;

/// Why the Redis is of no use now, and the mend. Neither repeats what stands in the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Redis of the fleet {cause}")]
pub(super) struct Away {
    pub(super) cause: String,
    pub(super) mend: String,
}

fn away(cause: impl Into<String>, mend: impl Into<String>) -> Away {
    Away {
        cause: cause.into(),
        mend: mend.into(),
    }
}

/// One connection.
#[derive(Clone)]
enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(cmd, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// Where the Redis is.
pub(super) struct Place {
    redis: RedisPlace,
    password: Option<Secret>,
    certificates: Option<Vec<u8>>,
    keys: Keys,
    keep: usize,
}

#[derive(Clone)]
struct Keys {
    log: String,
    words: String,
    ends: String,
    nodes: String,
    alerts: String,
}

/// One entry of the stream, as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) mac: String,
}

/// What came of telling a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// It was news.
    News,
    /// Everybody knew it, or better.
    Known,
    /// It comes from the future, by the clock of the Redis.
    Ahead,
}

/// Both connections.
pub(super) struct Link {
    wire: Wire,
    waits: Wire,
    script: Script,
    keys: Keys,
    keep: usize,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Place {
    pub(super) fn new(place: &RedisPlace, config: &FleetConfig) -> Result<Self, Away> {
        let certificates = match &config.ca_file {
            None => None,
            Some(path) => Some(files::read(path, CERTIFICATES).map_err(|error| {
                away(
                    format!("cannot be trusted: {error}"),
                    "name a readable file of certificates in `fleet.ca_file`, or none for the system's",
                )
            })?),
        };
        let key = |name: &str| format!("{{{}}}:{name}", config.prefix);
        Ok(Self {
            redis: place.clone(),
            password: place.password.clone().or_else(|| config.password.clone()),
            certificates,
            keys: Keys {
                log: key("log"),
                words: key("words"),
                ends: key("ends"),
                nodes: key("nodes"),
                alerts: key("alerts"),
            },
            keep: config.keep,
        })
    }

    /// Makes both connections, and finds out whether the server will do.
    pub(super) async fn connect(&self) -> Result<Link, Away> {
        crate::tls::install();
        let both = async { Ok::<_, RedisError>((self.wire().await?, self.wire().await?)) };
        let (wire, waits) = match timeout(PATIENCE, both).await {
            Ok(both) => both.map_err(|error| told(&error))?,
            Err(_) => return Err(late()),
        };
        let mut link = Link {
            wire,
            waits,
            script: Script::new(include_str!("publish.lua")),
            keys: self.keys.clone(),
            keep: self.keep,
        };
        link.look().await?;
        Ok(link)
    }

    async fn wire(&self) -> RedisResult<Wire> {
        let waiting = PATIENCE + Duration::from_millis(BLOCK_MS);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(waiting));
        let address = |(host, port): &(String, u16)| {
            if self.redis.tls {
                ConnectionAddr::TcpTls {
                    host: host.clone(),
                    port: *port,
                    insecure: false,
                    tls_params: None,
                }
            } else {
                ConnectionAddr::Tcp(host.clone(), *port)
            }
        };
        let mut login = RedisConnectionInfo::default().set_db(self.redis.database.into());
        if let Some(user) = &self.redis.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password.expose());
        }
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: self.certificates.clone(),
        };
        let trusted = self.redis.tls && self.certificates.is_some();
        match &self.redis.kind {
            RedisKind::Single => {
                let info = address(&self.redis.hosts[0])
                    .into_connection_info()?
                    .set_redis_settings(login);
                let client = if trusted {
                    Client::build_with_tls(info, certificates)?
                } else {
                    Client::open(info)?
                };
                let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
                Ok(Wire::One(connection))
            }
            RedisKind::Cluster => {
                let nodes = self.redis.hosts.iter().map(address);
                let nodes: RedisResult<Vec<_>> = nodes
                    .map(|node| Ok(node.into_connection_info()?.set_redis_settings(login.clone())))
                    .collect();
                let mut builder = redis::cluster::ClusterClient::builder(nodes?)
                    .connection_timeout(PATIENCE)
                    .response_timeout(waiting);
                if self.redis.tls {
                    builder = builder.tls(TlsMode::Secure);
                }
                if trusted {
                    builder = builder.certs(certificates);
                }
                Ok(Wire::Cluster(builder.build()?.get_async_connection().await?))
            }
            RedisKind::Sentinel(master) => {
                let connection = self
                    .sentinel(master, address, certificates)?
                    .get_async_connection_with_config(&config)
                    .await?;
                Ok(Wire::One(connection))
            }
        }
    }

    fn sentinel(
        &self,
        master: &str,
        address: impl Fn(&(String, u16)) -> ConnectionAddr,
        certificates: TlsCertificates,
    ) -> RedisResult<SentinelClient> {
        let sentinels: Vec<_> = self.redis.hosts.iter().map(address).collect();
        let mut builder = SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?
            .set_client_to_redis_db(self.redis.database.into());
        if let Some(user) = &self.redis.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &self.password {
            builder = builder.set_client_to_redis_password(password.expose());
        }
        if self.redis.tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            if self.certificates.is_some() {
                builder = builder
                    .set_client_to_redis_certificates(certificates.clone())
                    .set_client_to_sentinel_certificates(certificates);
            }
        }
        builder.build()
    }
}

impl Link {
    async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Away> {
        match timeout(PATIENCE, command.query_async(&mut self.wire)).await {
            Ok(answer) => answer.map_err(|error| told(&error)),
            Err(_) => Err(late()),
        }
    }

    /// Whether it is new enough, where one server is asked.
    async fn look(&mut self) -> Result<(), Away> {
        if matches!(self.wire, Wire::Cluster(_)) {
            return self.last().await.map(drop);
        }
        // A user of its own may not be allowed to ask; then the first command tells.
        let Ok(info) = self.ask::<String>(redis::cmd("INFO").arg("server")).await else {
            return self.last().await.map(drop);
        };
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        let mut numbers = version
            .unwrap_or_default()
            .split('.')
            .map_while(|part| part.parse().ok());
        let found: (u32, u32) = (numbers.next().unwrap_or(OLDEST.0), numbers.next().unwrap_or(OLDEST.1));
        if found < OLDEST {
            return Err(away(
                format!("is release {}.{} and has no streams", found.0, found.1),
                "upgrade it to 5.0 or later (7.0 and later are tested)",
            ));
        }
        self.last().await.map(drop)
    }

    /// Tells words; for each, what came of it.
    pub(super) async fn publish(&mut self, words: &[FleetWord]) -> Result<Vec<Published>, Away> {
        let mut call = self.script.prepare_invoke();
        call.key(&self.keys.log).key(&self.keys.words).key(&self.keys.ends);
        call.arg(self.keep).arg(AHEAD.as_secs());
        for word in words {
            call.arg(&word.subject)
                .arg(&word.version)
                .arg(&word.mac)
                .arg(&word.body)
                .arg(word.ends_at.0 / 1_000_000);
        }
        let answer: Vec<i64> = match timeout(PATIENCE, call.invoke_async(&mut self.wire)).await {
            Ok(answer) => answer.map_err(|error| told(&error))?,
            Err(_) => return Err(late()),
        };
        let published = |one| match one {
            1 => Published::News,
            2 => Published::Ahead,
            _ => Published::Known,
        };
        Ok(answer.into_iter().map(published).collect())
    }

    /// News after a place in the stream; none where nothing comes for a while. Not to be given up half-way.
    pub(super) fn news(&self, after: &str) -> impl Future<Output = Result<Vec<Entry>, Away>> + Send + 'static {
        let mut wire = self.waits.clone();
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(BATCH).arg("BLOCK").arg(BLOCK_MS);
        command.arg("STREAMS").arg(&self.keys.log).arg(after);
        async move {
            let patience = PATIENCE + Duration::from_millis(BLOCK_MS);
            let reply: Option<StreamReadReply> = match timeout(patience, command.query_async(&mut wire)).await {
                Ok(answer) => answer.map_err(|error| told(&error))?,
                Err(_) => return Err(late()),
            };
            let entries = reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids);
            let text = |map: &std::collections::HashMap<String, Value>, field: &str| match map.get(field) {
                Some(Value::BulkString(bytes)) if bytes.len() <= LONGEST => String::from_utf8(bytes.clone()).ok(),
                Some(Value::SimpleString(text)) => Some(text.clone()),
                _ => None,
            };
            Ok(entries
                .map(|entry| Entry {
                    body: text(&entry.map, "b").unwrap_or_default(),
                    mac: text(&entry.map, "m").unwrap_or_default(),
                    id: entry.id,
                })
                .collect())
        }
    }

    /// The end of the stream; `0-0` where there is none.
    pub(super) async fn last(&mut self) -> Result<String, Away> {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(&self.keys.log).arg("+").arg("-").arg("COUNT").arg(1);
        let reply: StreamRangeReply = self.ask(&command).await?;
        Ok(reply
            .ids
            .into_iter()
            .next()
            .map_or_else(|| "0-0".to_owned(), |entry| entry.id))
    }

    /// Whether nothing between there and the end of the stream is gone: the entry itself still stands.
    pub(super) async fn has(&mut self, position: &str) -> Result<bool, Away> {
        let mut command = redis::cmd("XRANGE");
        command
            .arg(&self.keys.log)
            .arg(position)
            .arg(position)
            .arg("COUNT")
            .arg(1);
        let reply: StreamRangeReply = self.ask(&command).await?;
        Ok(!reply.ids.is_empty())
    }

    /// A part of the latest words on all subjects, each as an entry without a place; and where to go on, 0 at the end.
    pub(super) async fn words(&mut self, cursor: u64) -> Result<(u64, Vec<Entry>), Away> {
        let mut command = redis::cmd("HSCAN");
        command.arg(&self.keys.words).arg(cursor).arg("COUNT").arg(BATCH);
        let (next, pairs): (u64, Vec<Vec<u8>>) = self.ask(&command).await?;
        let kept = |value: &[u8]| {
            let text = std::str::from_utf8(value).ok()?;
            let (_, rest) = text.split_once('\n')?;
            let (mac, body) = rest.split_once('\n')?;
            Some(Entry {
                id: String::new(),
                body: body.to_owned(),
                mac: mac.to_owned(),
            })
        };
        let entries = pairs
            .chunks(2)
            .map(|pair| pair.get(1).and_then(|value| kept(value)).unwrap_or_default());
        Ok((next, entries.collect()))
    }

    /// Tells of alerts, each a body and its signature.
    pub(super) async fn alerts(&mut self, alerts: &[(String, String)]) -> Result<(), Away> {
        let mut pipe = redis::pipe();
        for (body, mac) in alerts {
            pipe.cmd("XADD")
                .arg(&self.keys.alerts)
                .arg("MAXLEN")
                .arg("~")
                .arg(self.keep)
                .arg("*")
                .arg("m")
                .arg(mac)
                .arg("b")
                .arg(body)
                .ignore();
        }
        match timeout(PATIENCE, pipe.query_async(&mut self.wire)).await {
            Ok(answer) => answer.map_err(|error| told(&error)),
            Err(_) => Err(late()),
        }
    }

    /// Says that this node is there.
    pub(super) async fn present(&mut self, name: &str, body: &str, mac: &str) -> Result<(), Away> {
        let mut command = redis::cmd("HSET");
        command.arg(&self.keys.nodes).arg(name).arg(format!("{mac}\n{body}"));
        self.ask::<i64>(&command).await.map(drop)
    }

    /// What a node last said of itself: signature and body.
    pub(super) async fn node(&mut self, name: &str) -> Result<Option<(String, String)>, Away> {
        let said: Option<String> = self.ask(redis::cmd("HGET").arg(&self.keys.nodes).arg(name)).await?;
        Ok(said.and_then(|said| {
            said.split_once('\n')
                .map(|(mac, body)| (mac.to_owned(), body.to_owned()))
        }))
    }

    /// Who said so: name, signature and body.
    pub(super) async fn nodes(&mut self) -> Result<Vec<(String, String, String)>, Away> {
        let mut command = redis::cmd("HSCAN");
        command.arg(&self.keys.nodes).arg(0).arg("COUNT").arg(NODES);
        let (_, pairs): (u64, Vec<Vec<u8>>) = self.ask(&command).await?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let node = |pair: &[Vec<u8>]| {
            let (name, value) = (text(pair.first()?)?, text(pair.get(1)?)?);
            let (mac, body) = value.split_once('\n')?;
            Some((name, mac.to_owned(), body.to_owned()))
        };
        Ok(pairs.chunks(2).take(NODES).filter_map(node).collect())
    }

    /// Forgets a node that was not heard of for long.
    pub(super) async fn absent(&mut self, name: &str) -> Result<(), Away> {
        self.ask::<i64>(redis::cmd("HDEL").arg(&self.keys.nodes).arg(name))
            .await
            .map(drop)
    }
}

fn late() -> Away {
    away("does not answer in time", "see that it runs and is not overloaded")
}

/// Why, in our own words: the library's may repeat what stands in the URL.
fn told(error: &RedisError) -> Away {
    if error.is_timeout() {
        return late();
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => away(
            "refuses the user or password",
            "correct them in `bus`, `fleet.password_file` or REDIS_PASSWORD",
        ),
        ErrorKind::InvalidClientConfig => away("cannot be used as `bus` says", "see its hosts, user and database"),
        ErrorKind::Server(ServerErrorKind::ReadOnly) => away(
            "is a replica that takes no writes",
            "point `bus` at the master, or let Redis Sentinels tell it (`redis+sentinel://`)",
        ),
        ErrorKind::Server(ServerErrorKind::NoPerm) => away(
            "does not permit what is needed",
            "allow its user EVAL, EVALSHA, SCRIPT LOAD, XADD, XREAD, XRANGE, XREVRANGE, HGET, HSET, HDEL, HSCAN, ZADD, ZREM and \
             ZRANGEBYSCORE on the keys of `fleet.prefix` (docs/fleet.md)",
        ),
        ErrorKind::Server(ServerErrorKind::BusyLoading) => {
            away("is still loading its data", "nothing; it is tried again")
        }
        ErrorKind::Server(_) | ErrorKind::Extension => {
            if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) {
                return away(
                    "wants a password, or another one",
                    "name it in `fleet.password_file` or REDIS_PASSWORD",
                );
            }
            away(
                "refuses commands",
                "see its log, its memory limit, and what else writes to the keys of `fleet.prefix`",
            )
        }
        ErrorKind::Io if error.is_connection_refusal() => {
            away("refuses connections", "start it, or correct its port in `bus`")
        }
        ErrorKind::Io => away(
            "is not reached, or broke the connection",
            "see the network between, its address in `bus`, and its certificate where that is `rediss`",
        ),
        _ => away("answers what no Redis answers", "see what listens there"),
    }
}
