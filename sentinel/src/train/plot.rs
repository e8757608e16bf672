//! Pictures of an evaluation, as SVG.

use super::evaluate::Evaluation;
use std::fmt::Write;

const SIDE: f64 = 420.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;
/// Points of a curve that are drawn.
const MOST: usize = 400;

/// File names and contents.
pub fn plots(figures: &Evaluation) -> Vec<(&'static str, String)> {
    let reliability: Vec<_> = figures.reliability.iter().map(|g| (g.said, g.was)).collect();
    let names = &figures.confusion_names;
    let shares: Vec<Vec<f64>> = figures
        .confusion
        .iter()
        .map(|row| {
            let all = row.iter().sum::<u64>().max(1) as f64;
            row.iter().map(|&count| count as f64 / all).collect()
        })
        .collect();
    let mut out = vec![
        (
            "roc.svg",
            curve(
                "Receiver's curve",
                ["false-positive rate", "recall"],
                &figures.roc,
                false,
            ),
        ),
        (
            "precision-recall.svg",
            curve(
                "Precision over recall",
                ["recall", "precision"],
                &figures.precision_recall,
                false,
            ),
        ),
        (
            "calibration.svg",
            curve(
                "Said against was",
                ["probability said", "share of attacks"],
                &reliability,
                true,
            ),
        ),
        (
            "confusion.svg",
            matrix(
                "What flows were (rows) and were called (columns)",
                names,
                names,
                &shares,
            ),
        ),
        ("labels.svg", bars(figures)),
    ];
    if let Some(cross) = &figures.cross {
        let title = format!(
            "Recall at {} % of benign flows of the column's origin",
            cross.alpha * 100.0
        );
        out.push((
            "cross.svg",
            matrix(&title, &cross.attacks, &cross.benign, &cross.recall),
        ));
    }
    out
}

fn open(width: f64, height: f64, title: &str) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"15\">{}</text>\n",
        escape(title)
    );
    out
}

fn escape(text: &str) -> String {
    let safe: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    safe.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn curve(title: &str, axes: [&str; 2], points: &[(f64, f64)], diagonal: bool) -> String {
    let mut out = open(LEFT + SIDE + 30.0, TOP + SIDE + 60.0, title);
    let (x, y) = (|v: f64| LEFT + v * SIDE, |v: f64| TOP + (1.0 - v) * SIDE);
    for tick in 0..=5 {
        let v = f64::from(tick) / 5.0;
        let _ = writeln!(
            out,
            "<line x1=\"{0}\" y1=\"{TOP}\" x2=\"{0}\" y2=\"{1}\" stroke=\"#ddd\"/><line x1=\"{LEFT}\" y1=\"{2}\" \
             x2=\"{3}\" y2=\"{2}\" stroke=\"#ddd\"/><text x=\"{0}\" y=\"{4}\" text-anchor=\"middle\">{v}</text>\
             <text x=\"{5}\" y=\"{6}\" text-anchor=\"end\">{v}</text>",
            x(v),
            y(0.0),
            y(v),
            x(1.0),
            y(0.0) + 18.0,
            LEFT - 8.0,
            y(v) + 4.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text><text transform=\"translate(20 {}) rotate(-90)\" \
         text-anchor=\"middle\">{}</text>",
        x(0.5),
        y(0.0) + 42.0,
        axes[0],
        y(0.5),
        axes[1]
    );
    if diagonal {
        let _ = writeln!(
            out,
            "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"#999\" stroke-dasharray=\"4\"/>",
            x(0.0),
            y(0.0),
            x(1.0),
            y(1.0)
        );
    }
    let step = points.len().div_ceil(MOST).max(1);
    let last = points.last().copied();
    let drawn = points.iter().copied().step_by(step).chain(last);
    let path: Vec<_> = drawn.map(|(a, b)| format!("{:.1},{:.1}", x(a), y(b))).collect();
    let _ = write!(
        out,
        "<polyline fill=\"none\" stroke=\"#1f5fa8\" stroke-width=\"2\" points=\"{}\"/>\n</svg>\n",
        path.join(" ")
    );
    out
}

fn matrix<A: AsRef<str>, B: AsRef<str>>(title: &str, rows: &[A], columns: &[B], shares: &[Vec<f64>]) -> String {
    const CELL: f64 = 64.0;
    const NAMES: f64 = 130.0;
    let (width, height) = (columns.len() as f64 * CELL, rows.len() as f64 * 32.0);
    let mut out = open((NAMES + width + 20.0).max(460.0), TOP + height + 110.0, title);
    for (row, (name, shares)) in rows.iter().zip(shares).enumerate() {
        let y = TOP + row as f64 * 32.0;
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            NAMES - 6.0,
            y + 20.0,
            escape(name.as_ref())
        );
        for (column, share) in shares.iter().enumerate() {
            let x = NAMES + column as f64 * CELL;
            let light = 245.0 - 170.0 * share;
            let ink = if *share > 0.6 { "white" } else { "black" };
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"32\" fill=\"rgb({light:.0},{:.0},245)\" \
                 stroke=\"white\"/><text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"{ink}\">{share:.3}</text>",
                light + 5.0,
                x + CELL / 2.0,
                y + 20.0
            );
        }
    }
    for (column, name) in columns.iter().enumerate() {
        let (x, y) = (NAMES + (column as f64 + 0.5) * CELL, TOP + height + 14.0);
        let _ = writeln!(
            out,
            "<text transform=\"translate({x} {y}) rotate(-35)\" text-anchor=\"end\">{}</text>",
            escape(name.as_ref())
        );
    }
    out.push_str("</svg>\n");
    out
}

/// Recall of each label at the first two points: the model's levels, where it has them.
fn bars(figures: &Evaluation) -> String {
    const ROW: f64 = 30.0;
    const NAMES: f64 = 130.0;
    let points = figures.points.len().min(2);
    let names: Vec<_> = figures
        .points
        .iter()
        .take(points)
        .map(|point| point.name.as_str())
        .collect();
    let title = format!("Share of each label's flows above: {}", names.join(" (dark), "));
    let mut out = open(
        NAMES + SIDE + 80.0,
        TOP + figures.labels.len() as f64 * ROW + 20.0,
        &title,
    );
    for (row, slice) in figures.labels.iter().enumerate() {
        let y = TOP + row as f64 * ROW;
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            NAMES - 6.0,
            y + 16.0,
            escape(&slice.name)
        );
        for (point, share) in slice.above.iter().take(points).enumerate() {
            let color = ["#1f5fa8", "#8fb7e0"][point];
            let (y, width) = (y + point as f64 * 11.0, share * SIDE);
            let _ = writeln!(
                out,
                "<rect x=\"{NAMES}\" y=\"{y}\" width=\"{width:.1}\" height=\"10\" fill=\"{color}\"/>\
                 <text x=\"{:.1}\" y=\"{}\" font-size=\"10\">{share:.3}</text>",
                NAMES + width + 4.0,
                y + 9.0
            );
        }
    }
    out.push_str("</svg>\n");
    out
}
