//! The agent's lists without the agent: the same paths and parameters, answered from the database.

use super::exit::Failure;
use super::pages;
use crate::proof::Bundle;
use crate::store::{
    ActionFilter, AlertFilter, AuditFilter, DecisionFilter, Figures, InvestigationFilter, Page, Store, StoreError,
    Window,
};
use crate::types::{AlertId, DecisionId, InvestigationId, Stop, Timestamp};
use anyhow::{Context, anyhow};
use ipnet::IpNet;
use serde::Serialize;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde_json::Value;
use std::net::IpAddr;
use std::path::Path;
use tokio::runtime::Runtime;

/// A database, opened for reading.
pub(super) struct Stored {
    store: Store,
    runtime: Runtime,
}

impl Stored {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self {
            store: Store::read_only(path)?,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        })
    }

    pub(super) fn list(&self, path: &str, query: &[(&str, String)], limit: usize) -> Result<Vec<Value>, Failure> {
        let value = |name: &str| {
            query
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.as_str())
        };
        let since = value("since").map(str::parse).transpose()?;
        let ip = value("ip").map(str::parse::<IpAddr>).transpose()?.map(IpNet::from);
        let window = |want: usize, cursor: Option<String>| Window {
            limit: want,
            cursor,
            since,
        };
        match path {
            "/alerts" => {
                let severity = value("severity")
                    .map(named)
                    .transpose()?
                    .into_iter()
                    .collect::<Vec<_>>();
                let detector = value("detector")
                    .map(named)
                    .transpose()?
                    .into_iter()
                    .collect::<Vec<_>>();
                listed(limit, |want, cursor| {
                    let (severity, detector) = (severity.clone(), detector.clone());
                    let window = window(want, cursor);
                    self.runtime.block_on(self.store.alerts(AlertFilter {
                        window,
                        ip,
                        severity,
                        detector,
                    }))
                })
            }
            "/decisions" => {
                let active = value("active").map(|text| text == "true");
                let watched = value("watched").is_some();
                listed(limit, |want, cursor| {
                    let window = window(want, cursor);
                    self.runtime.block_on(self.store.decisions(DecisionFilter {
                        window,
                        ip,
                        active,
                        watched,
                        ..DecisionFilter::default()
                    }))
                })
            }
            "/investigations" => {
                let alert = value("alert").map(str::parse).transpose().context("an alert's name")?;
                listed(limit, |want, cursor| {
                    let window = window(want, cursor);
                    let filter = InvestigationFilter {
                        window,
                        ip,
                        alert,
                        level: Vec::new(),
                    };
                    self.runtime.block_on(self.store.investigations(filter))
                })
            }
            "/actions" => listed(limit, |want, cursor| {
                let filter = ActionFilter {
                    window: window(want, cursor),
                    ip,
                    ..ActionFilter::default()
                };
                self.runtime.block_on(self.store.actions(filter))
            }),
            "/audit" => listed(limit, |want, cursor| {
                let window = window(want, cursor);
                self.runtime.block_on(self.store.audit(AuditFilter { window }))
            }),
            _ => Err(anyhow!("the database has no list {path}").into()),
        }
    }

    /// What happened from then to `until`, and whether acting is stopped.
    pub(super) fn figures(&self, since: Timestamp, until: Timestamp) -> Result<(Figures, Option<Stop>), Failure> {
        let figures = self.runtime.block_on(self.store.figures(since, until))?;
        Ok((figures, self.runtime.block_on(self.store.stop())?))
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        if path == "/audit/verify" {
            let verdict = self.runtime.block_on(self.store.verify_audit())?;
            return Ok(serde_json::to_value(verdict)?);
        }
        let (list, id) = path
            .trim_start_matches('/')
            .split_once('/')
            .context("a list and a name")?;
        if let Some(id) = id.strip_suffix("/proof") {
            let id = DecisionId(id.parse().context("a name is a UUID")?);
            let row = self.runtime.block_on(self.store.proof(id))?;
            let row = row.with_context(|| format!("there is no proof of decision {id}"))?;
            return Ok(Bundle::of(&row)?);
        }
        let id = id.parse().context("a name is a UUID")?;
        let found = match list {
            "alerts" => item(self.runtime.block_on(self.store.alert(AlertId(id)))?)?,
            "investigations" => item(self.runtime.block_on(self.store.investigation(InvestigationId(id)))?)?,
            "decisions" => item(self.runtime.block_on(self.store.decision(DecisionId(id)))?)?,
            _ => None,
        };
        Ok(found.with_context(|| {
            let noun = list.trim_end_matches('s');
            format!("there is no {noun} {id}, or it is no longer kept (`store.retention`)")
        })?)
    }
}

/// Page after page, up to `limit` (0: all).
fn listed<T: Serialize>(
    limit: usize,
    page: impl Fn(usize, Option<String>) -> Result<Page<T>, StoreError>,
) -> Result<Vec<Value>, Failure> {
    pages::walk(limit, |want, cursor| {
        let part = page(want, cursor)?;
        let items = part.items.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        Ok((items, part.next_cursor))
    })
}

fn item<T: Serialize>(found: Option<T>) -> Result<Option<Value>, Failure> {
    Ok(found.map(serde_json::to_value).transpose()?)
}

/// A variant by its serde name.
fn named<T: DeserializeOwned>(name: &str) -> Result<T, Failure> {
    let reader: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = name.into_deserializer();
    T::deserialize(reader).map_err(|error| Failure::Usage(error.to_string()))
}
