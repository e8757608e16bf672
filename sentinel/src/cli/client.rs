//! The command line's way to the agent: HTTP over its unix socket.

use super::exit::Failure;
use super::output::{escape, escape_line};
use super::pages;
use anyhow::{Context, anyhow};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The agent answers from memory or a local database; longer than this it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest that a list of many decisions, a report or a reload may take.
const LIST_PATIENCE: Duration = Duration::from_mins(6);

/// A running agent.
pub(super) struct Client {
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    socket: PathBuf,
}

impl Client {
    /// Reaches the agent behind `socket`.
    ///
    /// # Errors
    /// [`Failure::NotRunning`] when nobody listens, [`Failure::Privilege`] when we may not connect.
    pub(super) fn connect(socket: &Path) -> Result<Self, Failure> {
        if let Err(error) = UnixStream::connect(socket) {
            return Err(match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => Failure::NotRunning(socket.to_owned()),
                ErrorKind::PermissionDenied => Failure::Privilege(format!(
                    "{} belongs to the user who runs the agent; run this as that user or as root",
                    socket.display()
                )),
                _ => anyhow!(error).context(socket.display().to_string()).into(),
            });
        }
        crate::tls::install();
        Ok(Self {
            http: reqwest::Client::builder()
                .unix_socket(socket)
                .timeout(PATIENCE)
                .build()?,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            socket: socket.to_owned(),
        })
    }

    /// One request; `path` begins with a slash.
    ///
    /// # Errors
    /// The agent's own words for a refusal; [`Failure::Usage`] where it calls the request invalid.
    pub(super) fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let request = self.request(method, path, query);
        self.wait(self.send(match body {
            Some(body) => request.json(body),
            None => request,
        }))
    }

    /// One request that the agent may take longer for, without a body.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(super) fn call_patiently(&self, method: Method, path: &str) -> Result<Value, Failure> {
        self.wait(self.send(self.request(method, path, &[]).timeout(LIST_PATIENCE)))
    }

    /// One request without a body, for whoever waits for other things meanwhile.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(super) async fn ask(&self, method: Method, path: &str, query: &[(&str, String)]) -> Result<Value, Failure> {
        self.send(self.request(method, path, query)).await
    }

    /// Waits for something that asks the agent.
    pub(super) fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, String)]) -> reqwest::RequestBuilder {
        // The host is required by HTTP and ignored: the connection goes to the socket.
        self.http
            .request(method, format!("http://localhost{path}"))
            .query(query)
            // Asked for even where there is no body, so that no web page can send such a request unasked.
            .header("content-type", "application/json")
    }

    /// Sends a list somebody keeps, as it is.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(super) fn send_list(&self, path: &str, query: &[(&str, String)], list: Vec<u8>) -> Result<Value, Failure> {
        let request = self
            .http
            .post(format!("http://localhost{path}"))
            .query(query)
            .header("content-type", "text/csv")
            .timeout(LIST_PATIENCE);
        self.wait(self.send(request.body(list)))
    }

    /// A document that the agent makes, which may take it some time.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(super) fn document(&self, path: &str, body: &Value) -> Result<Vec<u8>, Failure> {
        let request = self.http.post(format!("http://localhost{path}")).json(body);
        self.wait(self.answer(request.timeout(LIST_PATIENCE)))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let answer = self.answer(request).await?;
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_slice(&answer).context("the agent's answer is not JSON")?)
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>, Failure> {
        let answered = async {
            let response = request.send().await?;
            Ok::<_, reqwest::Error>((response.status(), response.bytes().await?))
        };
        let (status, body) = answered
            .await
            .with_context(|| format!("no answer from the agent on {}", self.socket.display()))?;
        if status.is_success() {
            return Ok(body.to_vec());
        }
        let text = String::from_utf8_lossy(&body);
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let words = problem["detail"]
            .as_str()
            .or(problem["title"].as_str())
            .unwrap_or(text.trim());
        let words = match problem["guard"].as_str() {
            Some(guard) => escape(&format!("refused by guard `{guard}`: {words}")),
            None => escape(words),
        };
        let words = told_lines(words, &problem);
        Err(match status {
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Failure::Usage(words),
            _ => anyhow!("{words} ({status})").into(),
        })
    }

    /// The items of a list, page after page, up to `limit` (0: all).
    pub(super) fn list(&self, path: &str, query: &[(&str, String)], limit: usize) -> Result<Vec<Value>, Failure> {
        pages::walk(limit, |want, cursor| {
            let mut query = query.to_vec();
            query.push(("limit", want.to_string()));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let mut page = self.call(Method::GET, path, &query, None)?;
            let Value::Array(batch) = page["items"].take() else {
                return Err(anyhow!("the agent's answer to {path} has no items").into());
            };
            Ok((batch, page["next_cursor"].as_str().map(str::to_owned)))
        })
    }
}

/// The words, and a line for each line of a list that is refused.
fn told_lines(mut words: String, problem: &Value) -> String {
    use std::fmt::Write as _;
    let lines = problem["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
    for line in lines {
        let guard = line["guard"]
            .as_str()
            .map(|guard| format!("refused by guard `{guard}`: "));
        let text = format!(
            "{}{}",
            guard.unwrap_or_default(),
            line["problem"].as_str().unwrap_or_default()
        );
        let _ = write!(words, "\n  line {}: {}", line["line"], escape_line(&text));
    }
    let more = problem["lines_total"]
        .as_u64()
        .unwrap_or(0)
        .saturating_sub(lines.len() as u64);
    if more > 0 {
        let _ = write!(words, "\n  and {more} more");
    }
    words
}

/// Reads the items of a list as what they are.
pub(super) fn typed<T: DeserializeOwned>(items: &[Value]) -> Result<Vec<T>, Failure> {
    let read = |item: &Value| {
        T::deserialize(item).context("the agent's answer has an unexpected shape; is it of this version?")
    };
    Ok(items.iter().map(read).collect::<Result<_, _>>()?)
}
