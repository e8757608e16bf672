//! The connection to the engine: lazy, bounded in time, made anew after a fault.

use super::ContainerError;
use crate::types::Timestamp;
use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerSummary, EndpointSettings, EventMessage, NetworkConnectRequest,
    NetworkDisconnectRequest,
};
use bollard::query_parameters::{EventsOptionsBuilder, ListContainersOptions};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::{Stream, TryStreamExt};
use std::collections::HashMap;
use std::future::Future;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// A Docker Engine behind a Unix socket.
#[derive(Debug)]
pub struct Engine {
    socket: PathBuf,
    timeout: Duration,
    client: Mutex<Option<Docker>>,
}

impl Engine {
    /// The engine at a socket; each request has `timeout`. Nothing is opened yet.
    pub fn new(socket: &Path, timeout: Duration) -> Self {
        Self {
            socket: socket.to_owned(),
            timeout,
            client: Mutex::new(None),
        }
    }

    /// Path of its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn name(&self) -> String {
        self.socket.display().to_string()
    }

    /// What it calls itself: name and versions of program and interface.
    ///
    /// # Errors
    /// [`ContainerError`]; so for every request.
    pub async fn version(&self) -> Result<String, ContainerError> {
        let told = self.ask("version", async |docker| docker.version().await).await?;
        let known = |text: Option<String>| text.map_or("unknown".to_owned(), |text| super::error::fit(&text));
        Ok(format!("{}, API {}", known(told.version), known(told.api_version)))
    }

    /// The running containers.
    pub(super) async fn containers(&self) -> Result<Vec<ContainerSummary>, ContainerError> {
        let running = ListContainersOptions::default();
        self.ask("list containers", async |docker| {
            docker.list_containers(Some(running.clone())).await
        })
        .await
    }

    /// Everything about one container.
    pub(super) async fn inspect(&self, id: &str) -> Result<ContainerInspectResponse, ContainerError> {
        self.ask("inspect container", async |docker| {
            docker.inspect_container(id, None).await
        })
        .await
    }

    /// Connects a container to a network, by name or identifier.
    pub(super) async fn connect(
        &self,
        network: &str,
        container: &str,
        endpoint: EndpointSettings,
    ) -> Result<(), ContainerError> {
        let wish = NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: Some(endpoint),
        };
        self.ask("connect network", async |docker| {
            docker.connect_network(network, wish.clone()).await
        })
        .await
    }

    /// Disconnects a container from a network, by name or identifier.
    pub(super) async fn disconnect(&self, network: &str, container: &str) -> Result<(), ContainerError> {
        let wish = NetworkDisconnectRequest {
            container: container.to_owned(),
            force: Some(false),
        };
        self.ask("disconnect network", async |docker| {
            docker.disconnect_network(network, wish.clone()).await
        })
        .await
    }

    /// What has happened to containers and networks since then, and happens from now on; the stream ends with the connection.
    pub(super) async fn events(
        &self,
        since: Timestamp,
    ) -> Result<impl Stream<Item = Result<EventMessage, ContainerError>> + Unpin + use<>, ContainerError> {
        let docker = self.client().await?;
        let kinds = HashMap::from([("type".to_owned(), vec!["container".to_owned(), "network".to_owned()])]);
        let options = EventsOptionsBuilder::default()
            .since(&(since.0 / 1_000_000_000).to_string())
            .filters(&kinds)
            .build();
        let name = self.name();
        let stream = docker.events(Some(options));
        Ok(Box::pin(
            stream.map_err(move |error| ContainerError::of("events", &error, &name)),
        ))
    }

    async fn ask<T, F>(&self, what: &'static str, question: impl FnOnce(Docker) -> F) -> Result<T, ContainerError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let docker = self.client().await?;
        let outcome = match timeout(self.timeout, question(docker)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => ContainerError::of(what, &error, &self.name()),
            Err(_) => ContainerError::Timeout {
                what,
                after: self.timeout,
            },
        };
        if outcome.of_connection() {
            *self.client.lock().await = None;
        }
        Err(outcome)
    }

    /// A client that speaks the version the engine understands.
    async fn client(&self) -> Result<Docker, ContainerError> {
        let mut client = self.client.lock().await;
        if let Some(docker) = client.as_ref() {
            return Ok(docker.clone());
        }
        self.knock().await?;
        let name = self.name();
        let made = Docker::connect_with_unix(&name, self.timeout.as_secs().max(1), API_DEFAULT_VERSION);
        let docker = made.map_err(|error| ContainerError::of("connect", &error, &name))?;
        let docker = match timeout(self.timeout, docker.negotiate_version()).await {
            Ok(Ok(docker)) => docker,
            Ok(Err(error)) => return Err(ContainerError::of("version", &error, &name)),
            Err(_) => {
                return Err(ContainerError::Timeout {
                    what: "version",
                    after: self.timeout,
                });
            }
        };
        Ok(client.insert(docker).clone())
    }

    /// Tells a socket that is not there from one that may not be used; the client's own errors do not.
    async fn knock(&self) -> Result<(), ContainerError> {
        let socket = self.name();
        match timeout(self.timeout, UnixStream::connect(&self.socket)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => Err(ContainerError::Denied { socket }),
            Ok(Err(error)) => Err(ContainerError::Unreachable {
                socket,
                cause: error.to_string(),
            }),
            Err(_) => Err(ContainerError::Timeout {
                what: "connect",
                after: self.timeout,
            }),
        }
    }
}
