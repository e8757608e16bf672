//! Pages for whoever reads on paper.

use super::layout::{BLACK, HEIGHT, Ink, MARGIN, Mark, SOFT, WIDTH, pages};
use super::outline::Outline;
use super::typeface::Typeface;
use super::{Report, ReportError};
use crate::types::Timestamp;
use krilla::color::rgb;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::{DateTime, Metadata};
use krilla::num::NormalizedF32;
use krilla::page::PageSettings;
use krilla::paint::{Fill, FillRule};
use krilla::surface::Surface;
use krilla::{Document, SerializeSettings};

pub(super) fn write(outline: &Outline, report: &Report) -> Result<Vec<u8>, ReportError> {
    let face = Typeface::new()?;
    let pages = pages(outline, &face);
    let mut document = Document::new_with(SerializeSettings {
        enable_tagging: false,
        ..SerializeSettings::default()
    });
    let all = pages.len();
    let size =
        PageSettings::from_wh(WIDTH, HEIGHT).ok_or_else(|| ReportError::Pdf("no page of that size".to_owned()))?;
    for (n, marks) in pages.iter().enumerate() {
        let mut page = document.start_page_with(size.clone());
        let mut surface = page.surface();
        for mark in marks {
            draw(&mut surface, mark, &face);
        }
        for mark in foot(outline, report, &face, n + 1, all) {
            draw(&mut surface, &mark, &face);
        }
        surface.finish();
        page.finish();
    }
    let mut metadata = Metadata::new()
        .title(format!("{}, {}", outline.title, outline.period))
        .creator(format!("Sentinel {}", report.sentinel))
        .producer(format!("Sentinel {}", report.sentinel))
        .language("en".to_owned());
    if let Some(made) = date(report.made_at) {
        metadata = metadata.creation_date(made);
    }
    document.set_metadata(metadata);
    document
        .finish()
        .map_err(|error| ReportError::Pdf(format!("{error:?}")))
}

fn foot(outline: &Outline, report: &Report, face: &Typeface, page: usize, of: usize) -> [Mark; 2] {
    let (y, size) = (HEIGHT - MARGIN, 7.5);
    let number = format!("Page {page} of {of}");
    let right = WIDTH - MARGIN - face.regular.width(&number, size);
    let text = |x, ink, text| Mark::Text {
        x,
        y,
        size,
        bold: false,
        ink,
        text,
    };
    [
        text(
            MARGIN,
            SOFT,
            format!("Sentinel {}, {}", report.sentinel, outline.period),
        ),
        text(right, BLACK, number),
    ]
}

fn draw(surface: &mut Surface<'_>, mark: &Mark, face: &Typeface) {
    match mark {
        Mark::Text {
            x,
            y,
            size,
            bold,
            ink,
            text,
        } => {
            let face = face.face(*bold);
            surface.set_fill(Some(fill(*ink)));
            surface.draw_glyphs(
                Point::from_xy(*x, *y),
                &face.glyphs(text),
                face.font(),
                text,
                *size,
                false,
            );
        }
        Mark::Area {
            x,
            y,
            width,
            height,
            ink,
        } => {
            let mut path = PathBuilder::new();
            if let Some(area) = Rect::from_xywh(*x, *y, *width, *height) {
                path.push_rect(area);
            }
            if let Some(path) = path.finish() {
                surface.set_fill(Some(fill(*ink)));
                surface.draw_path(&path);
            }
        }
    }
}

fn fill([red, green, blue]: Ink) -> Fill {
    Fill {
        paint: rgb::Color::new(red, green, blue).into(),
        opacity: NormalizedF32::ONE,
        rule: FillRule::NonZero,
    }
}

/// To the second, UTC.
fn date(at: Timestamp) -> Option<DateTime> {
    let text = at.to_string();
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u8>().ok();
    let year = text.get(0..4)?.parse().ok()?;
    Some(
        DateTime::new(year)
            .month(part(5, 7)?)
            .day(part(8, 10)?)
            .hour(part(11, 13)?)
            .minute(part(14, 16)?)
            .second(part(17, 19)?)
            .utc_offset_hour(0)
            .utc_offset_minute(0),
    )
}
