//! YAML events into a small tree that remembers lines and columns.

use saphyr_parser::{Event, Marker, Parser, ScanError, Span};

/// Nesting beyond this is refused; the deepest key has three levels.
const MAX_DEPTH: usize = 16;
/// Nodes in one file; a long allowlist has tens of thousands.
const MAX_NODES: usize = 200_000;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A key without a value, `~` or `null`.
    Null,
    /// Any scalar, quoted or not, as text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in file order; duplicates are kept for the reader to report.
    Map(Vec<(Node, Node)>),
}

impl Value {
    /// What it is called in messages.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Text(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a section",
        }
    }
}

/// A place in a text that is not the YAML we read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) message: String,
}

impl Unreadable {
    fn at(marker: Marker, message: impl Into<String>) -> Self {
        Self {
            line: marker.line(),
            column: marker.col() + 1,
            message: message.into(),
        }
    }
}

impl From<ScanError> for Unreadable {
    fn from(error: ScanError) -> Self {
        Self::at(*error.marker(), format!("is not valid YAML: {}", error.info()))
    }
}

/// Reads one document.
///
/// # Errors
/// [`Unreadable`] for broken YAML, for more than one document, and for anchors, aliases and tags, none of which a
/// settings file needs.
pub(super) fn parse(text: &str) -> Result<Node, Unreadable> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        nodes: 0,
    };
    let mut root = None;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => break,
            Event::StreamStart | Event::Nothing | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event if root.is_none() => root = Some(reader.node(event, span, 0)?),
            _ => return Err(Unreadable::at(span.start, "holds more than one YAML document")),
        }
    }
    Ok(root.unwrap_or(Node {
        line: 1,
        column: 1,
        value: Value::Null,
    }))
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Unreadable> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(error.into()),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Unreadable> {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(Unreadable::at(span.start, "is nested too deeply or too long"));
        }
        let refuse = |what: &str| Unreadable::at(span.start, format!("uses {what}, which settings do not know"));
        let value = match event {
            Event::Scalar(text, style, 0, None) => {
                let plain = style == saphyr_parser::ScalarStyle::Plain;
                if plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Value::Null
                } else {
                    Value::Text(text.into_owned())
                }
            }
            Event::SequenceStart(0, None) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Value::List(items),
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(0, None) => {
                let mut pairs = Vec::new();
                loop {
                    let key = match self.next()? {
                        (Event::MappingEnd, _) => break Value::Map(pairs),
                        (event, span) => self.node(event, span, depth + 1)?,
                    };
                    let (event, span) = self.next()?;
                    pairs.push((key, self.node(event, span, depth + 1)?));
                }
            }
            Event::Alias(_) => return Err(refuse("an alias (`*name`)")),
            Event::Scalar(_, _, 1.., _) | Event::SequenceStart(1.., _) | Event::MappingStart(1.., _) => {
                return Err(refuse("an anchor (`&name`)"));
            }
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) => {
                return Err(refuse("a tag (`!name`)"));
            }
            _ => return Err(Unreadable::at(span.start, "ends in the middle of a value")),
        };
        Ok(Node {
            line: span.start.line(),
            column: span.start.col() + 1,
            value,
        })
    }
}
