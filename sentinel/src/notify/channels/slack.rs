//! An incoming webhook of Slack (docs.slack.dev, "Sending messages using incoming webhooks"), or of what speaks like it.

use super::http::Post;
use super::{Channel, ChannelError, Fault};
use crate::config::AlertingConfig;
use crate::notify::Letter;
use crate::types::{ChannelKind, Secret, Severity};
use futures_util::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

const KEY: &str = "alerting.slack.url_file";
/// Characters of a text object that Slack takes (3,000), less those that escaping and a last line may add.
const SECTION: usize = 2_800;
/// Characters of a header.
const HEADER: usize = 150;

/// Slack's own words for what is wrong, those it documents.
const KNOWN: [&str; 8] = [
    "invalid_payload",
    "invalid_blocks",
    "user_not_found",
    "channel_not_found",
    "channel_is_archived",
    "action_prohibited",
    "no_service",
    "invalid_token",
];

#[derive(Debug)]
pub(super) struct Slack(Post);

impl Slack {
    pub(super) fn new(config: &AlertingConfig) -> Result<Self, ChannelError> {
        let none = Secret::new("");
        let slack = &config.slack;
        Post::new(
            slack.url.as_ref().unwrap_or(&none),
            slack.timeout,
            KEY,
            config.allow_link_local,
        )
        .map(Self)
    }

    async fn send(&self, letter: &Letter) -> Result<(), ChannelError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = self.0.send(headers, body(letter).to_string().into_bytes()).await?;
        let said = String::from_utf8_lossy(&answer.body);
        answer
            .taken(KEY)
            .map_err(|error| match KNOWN.iter().find(|word| said.trim() == **word) {
                Some(word @ (&"invalid_payload" | &"invalid_blocks")) => ChannelError {
                    fault: Fault::Letter,
                    cause: format!("{} ({word})", error.cause),
                    ..error
                },
                Some(word) => ChannelError {
                    fault: Fault::Settings,
                    cause: format!("{} ({word})", error.cause),
                    mend: "make a new incoming webhook in Slack and put its URL in SLACK_WEBHOOK_URL or `url_file`"
                        .to_owned(),
                    ..error
                },
                None => error,
            })
    }
}

/// Blocks with the colour of the severity.
fn body(letter: &Letter) -> Value {
    let colour = match letter.severity {
        Some(Severity::High) => "#c62828",
        Some(Severity::Medium) => "#ef6c00",
        Some(Severity::Low) => "#546e7a",
        None => "#1565c0",
    };
    let text =
        |text: String| json!({ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } });
    let title: String = letter.title.chars().take(HEADER).collect();
    let mut blocks = vec![
        json!({ "type": "header", "text": { "type": "plain_text", "text": title, "emoji": false } }),
        text(escape(&letter.lead)),
    ];
    for (title, items) in letter.sections.iter().filter(|(_, items)| !items.is_empty()) {
        let mut section = format!("*{title}*");
        for item in items {
            let line = format!("\n• {}", escape(item));
            if section.len() + line.len() > SECTION {
                section.push_str("\n• …");
                break;
            }
            section.push_str(&line);
        }
        blocks.push(text(section));
    }
    let link = format!("<{}|Open in Sentinel> · {}", letter.link, escape(&letter.host));
    blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": link }] }));
    // What notifications of phones show.
    json!({ "text": escape(&letter.title), "attachments": [{ "color": colour, "fallback": letter.title, "blocks": blocks }] })
}

/// Slack's three (docs.slack.dev, "Formatting text: Escaping"): nothing a stranger wrote names a person or a link. Marks of
/// its mark-up are parted from their words.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '*' | '~' | '`' => {
                out.push('\u{200b}');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

impl Channel for Slack {
    fn kind(&self) -> ChannelKind {
        ChannelKind::Slack
    }

    fn deliver<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(self.send(letter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_names_nobody() {
        assert_eq!(
            escape("<!channel> & <@U1> *x*"),
            "&lt;!channel&gt; &amp; &lt;@U1&gt; \u{200b}*x\u{200b}*"
        );
    }
}
