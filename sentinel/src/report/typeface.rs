//! The letters of pages: how wide text is, where it breaks, which glyphs it is.
//!
//! Cantarell (SIL Open Font License 1.1, `fonts/OFL.txt`); no kerning, which tables do not need.

use super::ReportError;
use krilla::text::{Font, GlyphId, KrillaGlyph};
use skrifa::instance::{LocationRef, Size};
use skrifa::metrics::GlyphMetrics;
use skrifa::{FontRef, MetadataProvider as _};

const REGULAR: &[u8] = include_bytes!("fonts/Cantarell-Regular.otf");
const BOLD: &[u8] = include_bytes!("fonts/Cantarell-Bold.otf");

/// Told in the place of a letter that the font does not have.
const UNKNOWN: char = '?';

/// One weight.
pub(super) struct Face {
    read: FontRef<'static>,
    font: Font,
}

/// Both weights.
pub(super) struct Typeface {
    pub(super) regular: Face,
    pub(super) bold: Face,
}

impl Typeface {
    pub(super) fn new() -> Result<Self, ReportError> {
        Ok(Self {
            regular: Face::new(REGULAR)?,
            bold: Face::new(BOLD)?,
        })
    }

    pub(super) const fn face(&self, bold: bool) -> &Face {
        if bold { &self.bold } else { &self.regular }
    }
}

impl Face {
    fn new(bytes: &'static [u8]) -> Result<Self, ReportError> {
        let bad = || ReportError::Pdf("its font cannot be read".to_owned());
        Ok(Self {
            read: FontRef::new(bytes).map_err(|_| bad())?,
            font: Font::new(bytes.into(), 0).ok_or_else(bad)?,
        })
    }

    pub(super) fn font(&self) -> Font {
        self.font.clone()
    }

    fn metrics(&self) -> GlyphMetrics<'static> {
        GlyphMetrics::new(&self.read, Size::new(1.0), LocationRef::default())
    }

    /// What of a text there are letters for, the others replaced.
    pub(super) fn known(&self, text: &str) -> String {
        let charmap = self.read.charmap();
        text.chars()
            .map(|c| {
                if charmap.map(c).is_some_and(|glyph| glyph.to_u32() > 0) {
                    c
                } else {
                    UNKNOWN
                }
            })
            .collect()
    }

    /// Glyphs of a text, their advances in parts of the size.
    pub(super) fn glyphs(&self, text: &str) -> Vec<KrillaGlyph> {
        let (charmap, metrics) = (self.read.charmap(), self.metrics());
        text.char_indices()
            .map(|(at, c)| {
                let glyph = charmap.map(c).unwrap_or_default();
                let advance = metrics.advance_width(glyph).unwrap_or(0.0);
                let range = at..at + c.len_utf8();
                KrillaGlyph::new(GlyphId::new(glyph.to_u32()), advance, 0.0, 0.0, 0.0, range, None)
            })
            .collect()
    }

    /// Points at that size.
    pub(super) fn width(&self, text: &str, size: f32) -> f32 {
        let (charmap, metrics) = (self.read.charmap(), self.metrics());
        let advance = |c| metrics.advance_width(charmap.map(c).unwrap_or_default()).unwrap_or(0.0);
        text.chars().map(advance).sum::<f32>() * size
    }

    /// Lines no wider than `width`: broken at spaces where that goes, within words where it does not; what is beyond
    /// `most` lines is cut, and told by an ellipsis.
    pub(super) fn lines(&self, text: &str, size: f32, width: f32, most: usize) -> Vec<String> {
        let text = self.known(text);
        let (mut lines, mut line) = (Vec::new(), String::new());
        for word in text.split_whitespace() {
            let joined = if line.is_empty() {
                word.to_owned()
            } else {
                format!("{line} {word}")
            };
            if self.width(&joined, size) <= width {
                line = joined;
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            for c in word.chars() {
                line.push(c);
                if line.chars().count() > 1 && self.width(&line, size) > width {
                    line.pop();
                    lines.push(std::mem::replace(&mut line, c.to_string()));
                }
            }
        }
        lines.push(line);
        if lines.len() > most {
            lines.truncate(most);
            if let Some(last) = lines.last_mut() {
                while !last.is_empty() && self.width(&format!("{last}…"), size) > width {
                    last.pop();
                }
                last.push('…');
            }
        }
        lines
    }
}
