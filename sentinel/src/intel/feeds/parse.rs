//! From a list's bytes to its entries, or to why it is no list.

use crate::types::canonical;
use ipnet::IpNet;
use serde::Deserialize;
use std::io::BufRead;
use std::net::IpAddr;

/// The longest line that is read, bytes.
pub const LINE_MAX: usize = 1_024;
/// Entries of one list at most.
pub const ENTRIES_MAX: usize = 2_000_000;

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An address or prefix a line; `#` and `;` begin comments.
    Plain,
    /// As [`Format::Plain`], ended by `# END`, which an empty list needs to be believed.
    Feodo,
    /// A JSON object a line: `cidr`; the last one has `type` `metadata` and says in `records` how many there are.
    Spamhaus,
    /// An address, a tab, and how many lists have it.
    Ipsum,
}

/// An entry: whom, and on how many lists (0 where the format does not say).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Host bits are zero; IPv4-mapped IPv6 is IPv4.
    pub net: IpNet,
    /// Lists it is on.
    pub level: u8,
}

/// What a list says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// In the order of the address space, each prefix once.
    pub entries: Vec<Entry>,
    /// Lines that could not be read.
    pub wrong: u64,
    /// The list says itself that it is whole.
    pub whole: bool,
}

/// Why bytes are no list.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// A page of a portal, of an error, of a login.
    #[error("line {line} is HTML; a captive portal or an error page answers in the provider's place")]
    Html {
        /// From 1.
        line: u64,
    },
    /// Bytes no text has: another encoding, an archive, a picture.
    #[error("line {line} is no plain text; the list came in another encoding, or is none")]
    Binary {
        /// From 1.
        line: u64,
    },
    /// A line without end.
    #[error("line {line} is longer than {LINE_MAX} bytes")]
    LongLine {
        /// From 1.
        line: u64,
    },
    /// More than is held of one list.
    #[error("more than {ENTRIES_MAX} entries")]
    TooMany,
    /// More than one line in a hundred is wrong.
    #[error(
        "{wrong} of {lines} lines are no entries (line {first} is the first); the format has changed, or it is no list"
    )]
    Wrong {
        /// Lines that could not be read.
        wrong: u64,
        /// Lines that are no comments.
        lines: u64,
        /// The first wrong one, from 1.
        first: u64,
    },
    /// It ends before its end.
    #[error("the list is cut off: {0}")]
    Cut(String),
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What a line says.
enum Line {
    Nothing,
    Entry(Entry),
    /// So many entries there are, says the list.
    End(Option<u64>),
    Wrong,
}

/// Reads a list. Memory is bounded by [`ENTRIES_MAX`] and [`LINE_MAX`], whatever is read.
///
/// # Errors
/// [`ParseError`]: it is refused whole.
pub fn parse(reader: &mut impl BufRead, format: Format) -> Result<Parsed, ParseError> {
    let mut parsed = Parsed::default();
    let (mut number, mut first_wrong, mut told, mut read) = (0u64, None, None, 0u64);
    let mut line = Vec::with_capacity(LINE_MAX);
    while next_line(reader, &mut line, number + 1)? {
        number += 1;
        let text = text(&line, number)?;
        if parsed.entries.is_empty() && text.starts_with('<') {
            return Err(ParseError::Html { line: number });
        }
        match meaning(text, format) {
            Line::Nothing => {}
            // Something behind the end is another list, or a tampered one.
            _ if parsed.whole => return Err(ParseError::Cut(format!("line {number} comes after its end"))),
            Line::Entry(entry) => {
                if parsed.entries.len() >= ENTRIES_MAX {
                    return Err(ParseError::TooMany);
                }
                read += 1;
                parsed.entries.push(entry);
            }
            Line::End(records) => {
                parsed.whole = true;
                told = records;
            }
            Line::Wrong => {
                parsed.wrong += 1;
                first_wrong.get_or_insert(number);
            }
        }
    }
    let lines = read + parsed.wrong;
    if parsed.wrong * 100 > lines {
        return Err(ParseError::Wrong {
            wrong: parsed.wrong,
            lines,
            first: first_wrong.unwrap_or(0),
        });
    }
    if format == Format::Spamhaus && !parsed.whole {
        return Err(ParseError::Cut(
            "its last line, with the count of its entries, is missing".into(),
        ));
    }
    if let Some(told) = told
        && lines < told
    {
        return Err(ParseError::Cut(format!("it says {told} entries and has {lines}")));
    }
    // The highest count of an address stands first, and stays.
    parsed
        .entries
        .sort_unstable_by_key(|entry| (entry.net, std::cmp::Reverse(entry.level)));
    parsed.entries.dedup_by_key(|entry| entry.net);
    Ok(parsed)
}

/// Reads a line without its end into `line`; false at the end of the list.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>, number: u64) -> Result<bool, ParseError> {
    line.clear();
    let read = std::io::Read::take(&mut *reader, LINE_MAX as u64 + 1).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > LINE_MAX {
        return Err(ParseError::LongLine { line: number });
    }
    Ok(read > 0)
}

fn text(line: &[u8], number: u64) -> Result<&str, ParseError> {
    let line = if number == 1 {
        line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
    } else {
        line
    };
    let text = std::str::from_utf8(line).map_err(|_| ParseError::Binary { line: number })?;
    let text = text.trim_ascii();
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(ParseError::Binary { line: number });
    }
    Ok(text)
}

fn meaning(text: &str, format: Format) -> Line {
    match format {
        Format::Spamhaus => spamhaus(text),
        Format::Ipsum => {
            let text = uncommented(text);
            if text.is_empty() {
                return Line::Nothing;
            }
            let parts = text.split_once('\t').and_then(|(address, level)| {
                let level: u32 = level.trim_ascii().parse().ok()?;
                let net = plain(address.trim_ascii())?;
                (level > 0).then_some(Entry {
                    net,
                    level: level.min(255) as u8,
                })
            });
            parts.map_or(Line::Wrong, Line::Entry)
        }
        Format::Plain | Format::Feodo => {
            if format == Format::Feodo && text.starts_with("# END") {
                return Line::End(text.split_ascii_whitespace().nth(2).and_then(|n| n.parse().ok()));
            }
            let text = uncommented(text);
            if text.is_empty() {
                return Line::Nothing;
            }
            plain(text).map_or(Line::Wrong, |net| Line::Entry(Entry { net, level: 0 }))
        }
    }
}

fn uncommented(text: &str) -> &str {
    text.split(['#', ';']).next().unwrap_or("").trim_ascii()
}

/// An address or a prefix without host bits.
pub(super) fn plain(text: &str) -> Option<IpNet> {
    let net = if text.contains('/') {
        text.parse::<IpNet>().ok().filter(|net| net.addr() == net.network())?
    } else {
        IpNet::from(text.parse::<IpAddr>().ok()?)
    };
    Some(canonical(net))
}

/// A line of Spamhaus's: <https://www.spamhaus.org/drop/drop_v4.json>.
#[derive(Deserialize)]
struct Record<'a> {
    cidr: Option<std::borrow::Cow<'a, str>>,
    #[serde(rename = "type")]
    kind: Option<std::borrow::Cow<'a, str>>,
    records: Option<u64>,
}

fn spamhaus(text: &str) -> Line {
    if text.is_empty() {
        return Line::Nothing;
    }
    match serde_json::from_str::<Record<'_>>(text) {
        Ok(Record { cidr: Some(cidr), .. }) => {
            plain(&cidr).map_or(Line::Wrong, |net| Line::Entry(Entry { net, level: 0 }))
        }
        Ok(Record {
            kind: Some(kind),
            records,
            ..
        }) if kind == "metadata" => Line::End(records),
        _ => Line::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: impl AsRef<[u8]>, format: Format) -> Result<Parsed, String> {
        parse(&mut text.as_ref(), format).map_err(|error| error.to_string())
    }

    fn nets(parsed: &Parsed) -> Vec<String> {
        parsed.entries.iter().map(|entry| entry.net.to_string()).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let text =
            "\u{feff}# head\r\n; other\r\n\r\n 198.51.100.7 # why\r\n2001:db8::/32\n::ffff:192.0.2.0/120\n198.51.100.7";
        let plain = read(text, Format::Plain).unwrap();
        assert_eq!(nets(&plain), ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32"]);
        assert_eq!((plain.wrong, plain.whole), (0, false));
        let feodo = read("# DstIP\n# END 0 entries\n", Format::Feodo).unwrap();
        assert!(feodo.entries.is_empty() && feodo.whole);
        let ipsum = read("# x\n1.2.3.4\t9\n1.2.3.4\t2\n5.6.7.8\t999\n", Format::Ipsum).unwrap();
        assert_eq!(
            ipsum.entries.iter().map(|entry| entry.level).collect::<Vec<_>>(),
            [9, 255]
        );
    }

    #[test]
    fn what_is_no_list_is_refused_whole_with_the_reason() {
        let good = "1.2.3.4\n".repeat(99);
        let spamhaus = r#"{"cidr":"1.10.16.0/20"}"#;
        let utf16: Vec<u8> = "1.2.3.4\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases: Vec<(Vec<u8>, Format, &str)> = vec![
            ("<html>".into(), Format::Plain, "line 1 is HTML"),
            ("\n\n  <!DOCTYPE html>".into(), Format::Spamhaus, "line 3 is HTML"),
            (format!("{good}x\ny\n").into(), Format::Plain, "2 of 101 lines"),
            ("1.2.3\n".into(), Format::Plain, "1 of 1 lines"),
            ("1.2.3.4/33\n".into(), Format::Plain, "1 of 1 lines"),
            ("1.2.3.4/24\n".into(), Format::Plain, "1 of 1 lines"),
            ("1.2.3.4\t0\n".into(), Format::Ipsum, "1 of 1 lines"),
            ("1.2.3.4 9\n".into(), Format::Ipsum, "1 of 1 lines"),
            (utf16, Format::Plain, "line 1 is no plain text"),
            (
                b"1.2.3.4\n\xff\xfe\n".to_vec(),
                Format::Plain,
                "line 2 is no plain text",
            ),
            (b"\x1f\x8b\x08\0\0".to_vec(), Format::Plain, "line 1 is no plain text"),
            (b"# \x1b[31m\n".to_vec(), Format::Plain, "line 1 is no plain text"),
            (vec![b'1'; LINE_MAX + 1], Format::Plain, "longer than 1024"),
            (spamhaus.into(), Format::Spamhaus, "is missing"),
            (spamhaus[..10].into(), Format::Spamhaus, "1 of 1 lines"),
            (format!("[{spamhaus}]").into(), Format::Spamhaus, "1 of 1 lines"),
            (
                format!("{spamhaus}\n{{\"type\":\"metadata\",\"records\":3}}").into(),
                Format::Spamhaus,
                "says 3 entries and has 1",
            ),
            (
                format!("{{\"type\":\"metadata\",\"records\":0}}\n{spamhaus}").into(),
                Format::Spamhaus,
                "comes after its end",
            ),
            (
                "1.2.3.4\n# END 2 entries\n".into(),
                Format::Feodo,
                "says 2 entries and has 1",
            ),
        ];
        for (bytes, format, want) in cases {
            let error = read(&bytes, format).unwrap_err();
            assert!(error.contains(want), "{want}: {error}");
        }
        let one = read(format!("{good}x\n"), Format::Plain).unwrap();
        assert_eq!(
            (one.wrong, one.entries.len()),
            (1, 1),
            "one in a hundred is borne, and counted"
        );
        assert!(read([b'1'; LINE_MAX], Format::Plain).unwrap_err().contains("1 of 1"));
    }

    /// A line without end, as long as whoever reads it likes.
    struct Endless(u64);

    impl std::io::Read for Endless {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            to.fill(b'1');
            self.0 += to.len() as u64;
            Ok(to.len())
        }
    }

    #[test]
    fn a_line_without_end_is_not_read_to_its_end() {
        let mut reader = std::io::BufReader::new(Endless(0));
        assert!(matches!(
            parse(&mut reader, Format::Plain),
            Err(ParseError::LongLine { line: 1 })
        ));
        assert!(reader.get_ref().0 <= 8_192, "{}", reader.get_ref().0);
    }

    #[test]
    fn more_entries_than_are_held_are_refused() {
        /// Addresses without end.
        struct Many(u32, Vec<u8>);
        impl std::io::Read for Many {
            fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
                while self.1.len() < to.len() {
                    self.0 += 1;
                    self.1
                        .extend(format!("{}\n", std::net::Ipv4Addr::from_bits(self.0)).bytes());
                }
                to.copy_from_slice(&self.1[..to.len()]);
                self.1.drain(..to.len());
                Ok(to.len())
            }
        }
        let mut reader = std::io::BufReader::with_capacity(1 << 16, Many(0, Vec::new()));
        assert!(matches!(parse(&mut reader, Format::Plain), Err(ParseError::TooMany)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_it_reads_is_in_order(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for format in [Format::Plain, Format::Feodo, Format::Spamhaus, Format::Ipsum] {
                if let Ok(parsed) = parse(&mut bytes.as_slice(), format) {
                    prop_assert!(parsed.entries.windows(2).all(|pair| pair[0].net < pair[1].net));
                }
            }
        }

        #[test]
        fn prefixes_are_read_as_they_were_written(nets in proptest::collection::btree_set((any::<u32>(), 8u8..=32), 1..50)) {
            let nets: std::collections::BTreeSet<IpNet> = nets
                .into_iter()
                .map(|(bits, len)| IpNet::new(std::net::Ipv4Addr::from_bits(bits).into(), len).unwrap().trunc())
                .collect();
            let text = crate::intel::feeds::testing::lines(&nets);
            let parsed = read(text, Format::Plain).unwrap();
            prop_assert_eq!(parsed.entries.iter().map(|entry| entry.net).collect::<Vec<_>>(), nets.into_iter().collect::<Vec<_>>());
        }
    }
}
