//! The body of an answer: bounded, and read as JSON whose errors repeat nothing of it.

use super::IntelError;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Brackets within brackets at most, as serde_json has it.
const DEEPEST: usize = 127;

/// Bytes as they come, up to a limit.
pub(super) struct Body {
    bytes: Vec<u8>,
    limit: usize,
    cut: bool,
}

impl Body {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
            cut: false,
        }
    }

    /// Takes what fits; false once there is more.
    pub(super) fn push(&mut self, chunk: &[u8]) -> bool {
        let room = self.limit - self.bytes.len();
        self.cut |= chunk.len() > room;
        self.bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        !self.cut
    }

    /// All of it.
    ///
    /// # Errors
    /// [`IntelError::TooLarge`]: there was more.
    pub(super) fn whole(&self) -> Result<&[u8], IntelError> {
        if self.cut {
            return Err(IntelError::TooLarge(self.limit));
        }
        Ok(&self.bytes)
    }

    /// What was read, up to the last whole element of a list, with the brackets closed that are open there.
    pub(super) fn closed(&self) -> Option<Vec<u8>> {
        close(&self.bytes)
    }
}

/// Reads JSON in a documented form, which consists of structs and lists: no name in its path is the server's.
///
/// # Errors
/// [`IntelError::Malformed`]: where, never what.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, IntelError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        IntelError::Malformed(match inner.classify() {
            Category::Data => match missing(&inner.to_string(), &path).as_str() {
                "." => "other JSON".to_owned(),
                field => format!("`{field}`"),
            },
            // The path may lead through a name of the server's here, and is not told.
            _ => not_json(bytes, &inner),
        })
    })?;
    json.end()
        .map_err(|error| IntelError::Malformed(not_json(bytes, &error)))?;
    Ok(parsed)
}

/// The path of a field, also of one that is not there, whose name stands only in the message: it is our own.
fn missing(message: &str, path: &str) -> String {
    let Some(name) = message
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split_once('`'))
        .map(|(name, _)| name)
    else {
        return path.to_owned();
    };
    match path {
        "." => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

fn not_json(bytes: &[u8], error: &serde_json::Error) -> String {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => "nothing".to_owned(),
        Some(b'<') => "HTML; check its `url`, and that no proxy or portal answers in its place".to_owned(),
        Some(_) => format!("no JSON at line {}, column {}", error.line(), error.column()),
    }
}

/// The longest beginning of a JSON text that ends behind a whole object or list within a list, closed.
fn close(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut open: Vec<u8> = Vec::new();
    let mut whole: Option<(usize, Vec<u8>)> = None;
    let (mut text, mut escaped) = (false, false);
    for (at, &byte) in bytes.iter().enumerate() {
        if text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => text = true,
            b'{' | b'[' if open.len() == DEEPEST => return None,
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            b'}' | b']' => {
                if open.pop() != Some(byte) {
                    return None;
                }
                if open.last() == Some(&b']') {
                    whole = Some((at + 1, open.clone()));
                }
            }
            _ => {}
        }
    }
    let (end, open) = whole?;
    let mut closed = bytes[..end].to_vec();
    closed.extend(open.iter().rev());
    Some(closed)
}
