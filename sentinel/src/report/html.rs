//! One file for a browser: no script, nothing fetched, light and dark, and it prints.

use super::outline::{Bars, Block, Outline, Table};
use super::words::count;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");

pub(super) fn write(outline: &Outline) -> String {
    let mut page = String::with_capacity(64 * 1024);
    page.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    // The file may lie anywhere and be opened by anybody: it asks nobody for anything.
    let style = base64(&Sha256::digest(STYLE));
    let _ = writeln!(
        page,
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{style}'\">"
    );
    page.push_str("<meta name=\"color-scheme\" content=\"light dark\">\n");
    let _ = write!(
        page,
        "<title>{}, {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&outline.title),
        escape(&outline.period)
    );
    let _ = write!(
        page,
        "<header>\n<h1>{}</h1>\n<p class=\"period\">{}</p>\n",
        escape(&outline.title),
        escape(&outline.period)
    );
    let class = if outline.mode.acts { "mode acts" } else { "mode" };
    let _ = write!(
        page,
        "<p class=\"{class}\">{}</p>\n</header>\n",
        escape(&outline.mode.text)
    );
    for block in &outline.blocks {
        write_block(&mut page, block);
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn write_block(page: &mut String, block: &Block) {
    let _ = match block {
        Block::Heading(text) => writeln!(page, "<h2>{}</h2>", escape(text)),
        Block::Text(text) => writeln!(page, "<p>{}</p>", escape(text)),
        Block::Note(text) => writeln!(page, "<p class=\"note\">{}</p>", escape(text)),
        Block::Tiles(tiles) => {
            page.push_str("<dl class=\"tiles\">\n");
            for tile in tiles {
                let (name, value, more) = (escape(tile.name), escape(&tile.value), escape(&tile.more));
                let _ = writeln!(
                    page,
                    "<div><dt>{name}</dt><dd>{value}</dd><dd class=\"note\">{more}</dd></div>"
                );
            }
            writeln!(page, "</dl>")
        }
        Block::Bars(bars) => {
            chart(page, bars);
            Ok(())
        }
        Block::Table(table) => {
            write_table(page, table);
            Ok(())
        }
    };
}

fn write_table(page: &mut String, table: &Table) {
    let _ = writeln!(page, "<h3>{}</h3>", escape(table.title));
    if table.rows.is_empty() {
        let _ = writeln!(page, "<p>{}</p>", escape(table.none));
        return;
    }
    page.push_str("<div class=\"scroll\"><table>\n<thead><tr>");
    let class = |number: bool| if number { " class=\"number\"" } else { "" };
    for (name, _, number) in table.columns {
        let _ = write!(page, "<th scope=\"col\"{}>{}</th>", class(*number), escape(name));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        page.push_str("<tr>");
        for (cell, (_, _, number)) in row.iter().zip(table.columns) {
            let _ = write!(page, "<td{}>{}</td>", class(*number), escape(cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table></div>\n");
}

/// Width and height of the picture, and of what is left of and below its axes.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const BELOW: f64 = 26.0;
const ABOVE: f64 = 10.0;

fn chart(page: &mut String, bars: &Bars) {
    let top = bars.top();
    let all: u64 = bars.steps.iter().map(|(_, of)| of.iter().sum::<u64>()).sum();
    let _ = write!(
        page,
        "<figure>\n<figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
        escape(&bars.title),
        escape(&format!(
            "{}: {} in all, {} at most in one step of time",
            bars.title,
            count(all),
            count(top)
        ))
    );
    let (width, height) = (WIDTH - LEFT, HEIGHT - BELOW - ABOVE);
    for part in 0..=2_u64 {
        let y = ABOVE + height * (1.0 - part as f64 / 2.0);
        let label = if (part * top).is_multiple_of(2) {
            count(top * part / 2)
        } else {
            String::new()
        };
        let _ = writeln!(
            page,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
        );
        let _ = writeln!(
            page,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 8.0,
            y + 4.0
        );
    }
    let step = width / bars.steps.len().max(1) as f64;
    let every = bars.steps.len().div_ceil(10).max(1);
    for (n, (name, of)) in bars.steps.iter().enumerate() {
        let x = LEFT + step * n as f64;
        let mut y = ABOVE + height;
        for (kind, alerts) in bars.kinds.iter().zip(of) {
            let tall = height * *alerts as f64 / top as f64;
            y -= tall;
            if *alerts > 0 {
                let _ = writeln!(
                    page,
                    "<rect class=\"{kind}\" x=\"{:.2}\" y=\"{y:.2}\" width=\"{:.2}\" height=\"{tall:.2}\"><title>{} {kind}: {}</title></rect>",
                    x + step * 0.1,
                    step * 0.8,
                    escape(name),
                    count(*alerts)
                );
            }
        }
        if n % every == 0 {
            let _ = writeln!(
                page,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                x + step / 2.0,
                HEIGHT - 8.0,
                escape(name)
            );
        }
    }
    page.push_str("</svg>\n<ul class=\"legend\">");
    for kind in bars.kinds.iter().rev() {
        let _ = write!(page, "<li class=\"{kind}\">{kind}</li>");
    }
    page.push_str("</ul>\n</figure>\n");
}

/// RFC 4648, 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// As text of an element or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}
