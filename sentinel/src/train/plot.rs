//! Pictures of an evaluation, as SVG.

use super::evaluate::Evaluation;
use std::fmt::Write;

const SIDE: f64 = 420.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;
/// Points of a curve are drawn that are so far apart, pixels: at most some 1,700 of a curve that only rises.
const APART: f64 = 0.5;
/// The least false-positive rate that is drawn: one flow in ten thousand.
const LEAST: f64 = 1e-4;
/// Characters of a name that is drawn.
const NAME: usize = 18;

/// A curve in a square.
struct Curve<'a> {
    title: &'a str,
    axes: [&'a str; 2],
    points: &'a [(f64, f64)],
    /// The horizontal axis is logarithmic, from [`LEAST`] on.
    log: bool,
    /// Radius of a dot at each point; no dots where there are none.
    dots: &'a [f64],
    /// With the line on which both axes agree.
    diagonal: bool,
}

/// File names and contents.
pub fn plots(figures: &Evaluation) -> Vec<(&'static str, String)> {
    let reliability: Vec<_> = figures.reliability.iter().map(|g| (g.said, g.was)).collect();
    let most = figures.reliability.iter().map(|g| g.rows).max().unwrap_or(1) as f64;
    let dots: Vec<_> = figures
        .reliability
        .iter()
        .map(|g| 2.0 + 8.0 * (g.rows as f64 / most).sqrt())
        .collect();
    let names = &figures.confusion_names;
    let counted: Vec<_> = names
        .iter()
        .zip(&figures.confusion)
        .map(|(name, row)| counted(name, row.iter().sum()))
        .collect();
    let shares: Vec<Vec<f64>> = figures
        .confusion
        .iter()
        .map(|row| {
            // Of none there is no share.
            let all = row.iter().sum::<u64>() as f64;
            row.iter().map(|&count| count as f64 / all).collect()
        })
        .collect();
    let mut out = vec![
        (
            "roc.svg",
            curve(&Curve {
                title: "ROC: recall over false-positive rate",
                axes: ["false-positive rate", "recall"],
                points: &figures.roc,
                log: true,
                dots: &[],
                diagonal: false,
            }),
        ),
        (
            "precision-recall.svg",
            curve(&Curve {
                title: "Precision over recall",
                axes: ["recall", "precision"],
                points: &figures.precision_recall,
                log: false,
                dots: &[],
                diagonal: false,
            }),
        ),
        (
            "calibration.svg",
            curve(&Curve {
                title: "Calibration: share of attacks over probability said (dots: by flows)",
                axes: ["probability said", "share of attacks"],
                points: &reliability,
                log: false,
                dots: &dots,
                diagonal: true,
            }),
        ),
        (
            "confusion.svg",
            matrix(
                "What flows were (rows) and were called (columns)",
                &counted,
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
            matrix(&title, &shortened(&cross.attacks), &cross.benign, &cross.recall),
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

/// A name that fits beside a picture.
fn short(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.to_owned();
    }
    name.chars().take(NAME - 1).chain(['…']).collect()
}

fn shortened(names: &[String]) -> Vec<String> {
    names.iter().map(|name| short(name)).collect()
}

/// A name and how many flows have it.
fn counted(name: &str, flows: u64) -> String {
    format!("{} ({flows})", short(name))
}

fn curve(picture: &Curve<'_>) -> String {
    let mut out = open(LEFT + SIDE + 30.0, TOP + SIDE + 60.0, picture.title);
    let across = |v: f64| {
        if picture.log {
            1.0 - v.max(LEAST).log10() / LEAST.log10()
        } else {
            v
        }
    };
    let (x, y) = (|v: f64| LEFT + across(v) * SIDE, |v: f64| TOP + (1.0 - v) * SIDE);
    let even = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];
    let decades = [LEAST, 1e-3, 0.01, 0.1, 1.0];
    for v in if picture.log { &decades[..] } else { &even[..] } {
        let _ = writeln!(
            out,
            "<line x1=\"{0:.1}\" y1=\"{TOP}\" x2=\"{0:.1}\" y2=\"{1}\" stroke=\"#ddd\"/>\
             <text x=\"{0:.1}\" y=\"{2}\" text-anchor=\"middle\">{v}</text>",
            x(*v),
            y(0.0),
            y(0.0) + 18.0
        );
    }
    for v in even {
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{0:.1}\" x2=\"{1}\" y2=\"{0:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{v}</text>",
            y(v),
            LEFT + SIDE,
            LEFT - 8.0,
            y(v) + 4.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text><text transform=\"translate(20 {}) rotate(-90)\" \
         text-anchor=\"middle\">{}</text>",
        LEFT + SIDE / 2.0,
        y(0.0) + 42.0,
        picture.axes[0],
        y(0.5),
        picture.axes[1]
    );
    if picture.diagonal {
        let _ = writeln!(
            out,
            "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"#999\" stroke-dasharray=\"4\"/>",
            x(0.0),
            y(0.0),
            x(1.0),
            y(1.0)
        );
    }
    let _ = writeln!(
        out,
        "<polyline fill=\"none\" stroke=\"#1f5fa8\" stroke-width=\"2\" points=\"{}\"/>",
        path(picture.points.iter().map(|(a, b)| (x(*a), y(*b))))
    );
    for ((a, b), radius) in picture.points.iter().zip(picture.dots) {
        let _ = writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"#1f5fa8\" fill-opacity=\"0.6\"/>",
            x(*a),
            y(*b)
        );
    }
    out.push_str("</svg>\n");
    out
}

/// Points in pixels as a line's coordinates, the first and the last and those between that are apart.
fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    let mut drawn: Option<(f64, f64)> = None;
    let mut left_out = None;
    let mut draw = |(a, b): (f64, f64)| {
        let _ = write!(path, "{a:.1},{b:.1} ");
    };
    for point in points {
        if drawn.is_some_and(|(a, b)| (point.0 - a).abs().max((point.1 - b).abs()) < APART) {
            left_out = Some(point);
            continue;
        }
        draw(point);
        (drawn, left_out) = (Some(point), None);
    }
    if let Some(last) = left_out {
        draw(last);
    }
    path.truncate(path.trim_end().len());
    path
}

fn matrix<A: AsRef<str>, B: AsRef<str>>(title: &str, rows: &[A], columns: &[B], shares: &[Vec<f64>]) -> String {
    const CELL: f64 = 64.0;
    const NAMES: f64 = 190.0;
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
            let (light, text) = if share.is_finite() {
                (245.0 - 170.0 * share, format!("{share:.3}"))
            } else {
                (245.0, "–".to_owned())
            };
            let ink = if *share > 0.6 { "white" } else { "black" };
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"32\" fill=\"rgb({light:.0},{:.0},255)\" \
                 stroke=\"white\"/><text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"{ink}\">{text}</text>",
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
            escape(&short(name.as_ref()))
        );
    }
    out.push_str("</svg>\n");
    out
}

/// Recall of each label at the first two points: the model's levels, where it has them.
fn bars(figures: &Evaluation) -> String {
    const ROW: f64 = 30.0;
    const NAMES: f64 = 190.0;
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
            escape(&counted(&slice.name, slice.rows))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_keeps_its_ends_and_what_is_apart() {
        let points = [(0.0, 0.0), (0.2, 0.0), (0.4, 0.1), (9.0, 0.1), (9.0, 4.0), (9.1, 4.2)];
        assert_eq!(path(points.into_iter()), "0.0,0.0 9.0,0.1 9.0,4.0 9.1,4.2");
        let many = (0..100_000).map(|n| (f64::from(n) * SIDE / 1e5, 0.0));
        assert!(path(many).split(' ').count() <= 850);
        assert_eq!(path([].into_iter()), "");
    }

    #[test]
    fn rates_below_the_least_lie_on_the_left_edge_and_decades_are_even() {
        let picture = curve(&Curve {
            title: "t",
            axes: ["a", "b"],
            points: &[(0.0, 0.0), (LEAST, 0.5), (0.01, 0.9), (1.0, 1.0)],
            log: true,
            dots: &[],
            diagonal: false,
        });
        let line = "points=\"70.0,470.0 70.0,260.0 280.0,92.0 490.0,50.0\"";
        assert!(picture.contains(line), "{picture}");
    }

    #[test]
    fn a_row_without_flows_has_no_shares_and_long_names_are_cut() {
        let name = "a capture with a name that never ends & <ends>";
        let rows = [counted(name, 7), counted("b", 0)];
        let picture = matrix("t", &rows, &["c"], &[vec![1.0], vec![f64::NAN]]);
        assert!(picture.contains(">a capture with a … (7)<"), "{picture}");
        assert!(picture.contains(">1.000<") && picture.contains(">–<") && !picture.contains("NaN"));
        assert!(matrix("t", &["x"], &[name], &[vec![0.5]]).contains(">a capture with a …<"));
    }
}
