//! From parts to pages: what stands where, in points from the upper left corner, before anything is drawn.

use super::outline::{Bars, Block, Outline, Table, Tile};
use super::typeface::Typeface;
use super::words::count;

/// A4, points.
pub(super) const WIDTH: f32 = 595.28;
pub(super) const HEIGHT: f32 = 841.89;
pub(super) const MARGIN: f32 = 50.0;
/// Kept free for the foot.
const FOOT: f32 = 40.0;
const INNER: f32 = WIDTH - 2.0 * MARGIN;

/// Red, green, blue.
pub(super) type Ink = [u8; 3];
pub(super) const BLACK: Ink = [0x1c, 0x24, 0x30];
pub(super) const SOFT: Ink = [0x5a, 0x66, 0x75];
const LINE: Ink = [0xd8, 0xde, 0xe6];
const TILE: Ink = [0xf4, 0xf6, 0xf9];
const HIGH: Ink = [0xb3, 0x26, 0x1e];
const MEDIUM: Ink = [0xd9, 0x8a, 0x00];
const LOW: Ink = [0x7a, 0x93, 0xad];
const GOOD: Ink = [0x1d, 0x6f, 0x42];

/// Something drawn.
#[derive(Clone, Debug)]
pub(super) enum Mark {
    /// `y` is the base line.
    Text {
        x: f32,
        y: f32,
        size: f32,
        bold: bool,
        ink: Ink,
        text: String,
    },
    /// A filled rectangle.
    Area {
        x: f32,
        y: f32,
        width: f32,
        height: f32,
        ink: Ink,
    },
}

/// Sizes of letters, points, and of a line of them.
const BODY: f32 = 9.5;
const SMALL: f32 = 8.0;
const LEADING: f32 = 1.35;
/// Lines of one cell; a longer text is cut.
const CELL_LINES: usize = 4;

/// Pages while they are filled.
pub(super) struct Pages<'a> {
    face: &'a Typeface,
    done: Vec<Vec<Mark>>,
    marks: Vec<Mark>,
    y: f32,
}

pub(super) fn pages(outline: &Outline, face: &Typeface) -> Vec<Vec<Mark>> {
    let mut pages = Pages {
        face,
        done: Vec::new(),
        marks: Vec::new(),
        y: MARGIN,
    };
    pages.head(outline);
    for (n, block) in outline.blocks.iter().enumerate() {
        match block {
            Block::Heading(text) => pages.heading(text, outline.blocks.get(n + 1)),
            Block::Text(text) => pages.paragraph(text, BODY, BLACK),
            Block::Note(text) => pages.paragraph(text, SMALL, SOFT),
            Block::Tiles(tiles) => pages.tiles(tiles),
            Block::Bars(bars) => pages.bars(bars),
            Block::Table(table) => pages.table(table),
        }
    }
    pages.done.push(pages.marks);
    pages.done
}

impl Pages<'_> {
    fn text(&mut self, x: f32, y: f32, size: f32, bold: bool, ink: Ink, text: &str) {
        let text = self.face.face(bold).known(text);
        if !text.is_empty() {
            self.marks.push(Mark::Text {
                x,
                y,
                size,
                bold,
                ink,
                text,
            });
        }
    }

    fn area(&mut self, x: f32, y: f32, width: f32, height: f32, ink: Ink) {
        if width > 0.0 && height > 0.0 {
            self.marks.push(Mark::Area {
                x,
                y,
                width,
                height,
                ink,
            });
        }
    }

    /// On the next page, unless there is so much room on this one.
    fn room(&mut self, height: f32) -> bool {
        if self.y + height <= HEIGHT - MARGIN - FOOT {
            return false;
        }
        self.done.push(std::mem::take(&mut self.marks));
        self.y = MARGIN;
        true
    }

    fn head(&mut self, outline: &Outline) {
        self.text(MARGIN, self.y + 18.0, 20.0, true, BLACK, &outline.title);
        self.text(MARGIN, self.y + 34.0, 10.5, false, SOFT, &outline.period);
        self.y += 46.0;
        let lines = self.face.regular.lines(&outline.mode.text, BODY, INNER - 24.0, 4);
        let height = lines.len() as f32 * BODY * LEADING + 10.0;
        self.area(MARGIN, self.y, INNER, height, TILE);
        self.area(
            MARGIN,
            self.y,
            3.0,
            height,
            if outline.mode.acts { GOOD } else { MEDIUM },
        );
        for (n, line) in lines.iter().enumerate() {
            let y = self.y + 5.0 + (n as f32 + 0.8) * BODY * LEADING;
            self.text(MARGIN + 12.0, y, BODY, false, BLACK, line);
        }
        self.y += height + 12.0;
    }

    fn heading(&mut self, text: &str, next: Option<&Block>) {
        // Never the last of a page.
        let follows = if matches!(next, Some(Block::Bars(_))) {
            200.0
        } else {
            70.0
        };
        if !self.room(34.0 + follows) {
            self.y += 12.0;
        }
        self.area(MARGIN, self.y, INNER, 1.2, LINE);
        self.text(MARGIN, self.y + 19.0, 13.5, true, BLACK, text);
        self.y += 28.0;
    }

    fn paragraph(&mut self, text: &str, size: f32, ink: Ink) {
        for line in self.face.regular.lines(text, size, INNER, 40) {
            self.room(size * LEADING);
            self.text(MARGIN, self.y + size, size, false, ink, &line);
            self.y += size * LEADING;
        }
        self.y += 5.0;
    }

    fn tiles(&mut self, tiles: &[Tile]) {
        let gap = 7.0;
        let width = (INNER - gap * (tiles.len() as f32 - 1.0)) / tiles.len().max(1) as f32;
        let height = 66.0;
        self.room(height);
        for (n, tile) in tiles.iter().enumerate() {
            let x = MARGIN + (width + gap) * n as f32;
            self.area(x, self.y, width, height, TILE);
            self.text(x + 7.0, self.y + 14.0, SMALL, false, SOFT, tile.name);
            let mut size = 16.0;
            while size > 8.0 && self.face.bold.width(&tile.value, size) > width - 12.0 {
                size -= 0.5;
            }
            self.text(x + 7.0, self.y + 33.0, size, true, BLACK, &tile.value);
            for (line, text) in self
                .face
                .regular
                .lines(&tile.more, 7.0, width - 12.0, 2)
                .iter()
                .enumerate()
            {
                self.text(x + 7.0, self.y + 46.0 + 9.0 * line as f32, 7.0, false, SOFT, text);
            }
        }
        self.y += height + 10.0;
    }

    fn bars(&mut self, bars: &Bars) {
        let (tall, left) = (130.0, 44.0);
        self.room(tall + 50.0);
        self.text(MARGIN, self.y + 10.0, BODY, true, BLACK, &bars.title);
        self.legend(bars.kinds);
        self.y += 20.0;
        let (top, width) = (bars.top(), INNER - left);
        for part in 0..=2_u64 {
            let y = self.y + tall * (1.0 - part as f32 / 2.0);
            self.area(MARGIN + left, y - 0.3, width, 0.6, LINE);
            if (part * top).is_multiple_of(2) {
                let label = count(top * part / 2);
                let x = MARGIN + left - 6.0 - self.face.regular.width(&label, 7.0);
                self.text(x, y + 2.5, 7.0, false, SOFT, &label);
            }
        }
        let step = width / bars.steps.len().max(1) as f32;
        let every = bars.steps.len().div_ceil(10).max(1);
        for (n, (name, of)) in bars.steps.iter().enumerate() {
            let x = MARGIN + left + step * n as f32;
            let mut y = self.y + tall;
            for (kind, alerts) in bars.kinds.iter().zip(of) {
                let height = tall * (*alerts as f64 / top as f64) as f32;
                y -= height;
                self.area(x + step * 0.1, y, step * 0.8, height, ink(kind));
            }
            if n % every == 0 {
                let middle = x + step / 2.0 - self.face.regular.width(name, 7.0) / 2.0;
                self.text(middle, self.y + tall + 11.0, 7.0, false, SOFT, name);
            }
        }
        self.y += tall + 22.0;
    }

    fn legend(&mut self, kinds: &[&str]) {
        let mut x = MARGIN + INNER;
        for name in kinds {
            x -= self.face.regular.width(name, SMALL);
            self.text(x, self.y + 10.0, SMALL, false, SOFT, name);
            x -= 11.0;
            self.area(x, self.y + 3.5, 7.0, 7.0, ink(name));
            x -= 10.0;
        }
    }

    fn table(&mut self, table: &Table) {
        self.room(70.0);
        self.text(MARGIN, self.y + 13.0, 10.0, true, BLACK, table.title);
        self.y += 20.0;
        if table.rows.is_empty() {
            self.paragraph(table.none, BODY, SOFT);
            return;
        }
        self.columns(table);
        for row in &table.rows {
            let cells: Vec<Vec<String>> = row
                .iter()
                .zip(places(table))
                .map(|(cell, (_, width, _))| self.face.regular.lines(cell, SMALL, width, CELL_LINES))
                .collect();
            let lines = cells.iter().map(Vec::len).max().unwrap_or(1);
            let height = lines as f32 * SMALL * LEADING + 5.0;
            if self.room(height) {
                self.columns(table);
            }
            for (cell, (x, width, number)) in cells.iter().zip(places(table)) {
                for (n, line) in cell.iter().enumerate() {
                    let room = if number {
                        width - self.face.regular.width(line, SMALL)
                    } else {
                        0.0
                    };
                    let y = self.y + 2.0 + (n as f32 + 0.85) * SMALL * LEADING;
                    self.text(x + room, y, SMALL, false, BLACK, line);
                }
            }
            self.y += height;
            self.area(MARGIN, self.y - 0.5, INNER, 0.5, LINE);
        }
        self.y += 8.0;
    }

    /// The names of a table's columns.
    fn columns(&mut self, table: &Table) {
        for (n, (x, width, number)) in places(table).enumerate() {
            let name = table.columns.get(n).map_or("", |column| column.0);
            let room = if number {
                width - self.face.bold.width(name, SMALL)
            } else {
                0.0
            };
            self.text(x + room, self.y + SMALL + 1.0, SMALL, true, SOFT, name);
        }
        self.y += SMALL * LEADING + 4.0;
        self.area(MARGIN, self.y - 0.8, INNER, 0.8, SOFT);
    }
}

/// The colour of a kind of what is told over time.
fn ink(kind: &str) -> Ink {
    match kind {
        "high" => HIGH,
        "medium" => MEDIUM,
        "real" => GOOD,
        _ => LOW,
    }
}

/// Where each column begins, how wide its text may be, and whether it is of numbers.
fn places(table: &Table) -> impl Iterator<Item = (f32, f32, bool)> {
    let all: u32 = table.columns.iter().map(|column| column.1).sum();
    let mut x = MARGIN;
    table.columns.iter().map(move |(_, share, number)| {
        let width = INNER * *share as f32 / all.max(1) as f32;
        let place = (x, width - 8.0, *number);
        x += width;
        place
    })
}
