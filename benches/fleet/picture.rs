//! What becomes of a fleet as it grows, as SVG: the share that fails, and the 99th percentile. Written by hand: a few lines.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use crate::phase::Row;

/// Pixels: the panels, what is left and above of them, and between them.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
const GAP: f64 = 34.0;
/// For the names of the subjects.
const RIGHT: f64 = 130.0;

/// What latencies are shown, in milliseconds.
const LEAST: f64 = 30.0;
const MOST: f64 = 30_000.0;

/// Readable on white and on black.
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#59636e}path{fill:none;stroke-width:2}\
                     .axis{stroke:#8c959f;stroke-width:1}.rds{stroke:#2da44e}.each{stroke:#cf222e}.pool{stroke:#bf8700}\
                     .pgbouncer{stroke:#0969da}.rds-pgbouncer{stroke:#8250df}\
                     @media(prefers-color-scheme:dark){text{fill:#9198a1}.rds{stroke:#3fb950}.each{stroke:#f85149}\
                     .pool{stroke:#d29922}.pgbouncer{stroke:#4493f8}.rds-pgbouncer{stroke:#ab7df8}}";

pub(crate) fn write(path: &Path, rows: &[Row]) -> io::Result<()> {
    let largest = rows.iter().map(|row| row.environments).max().unwrap_or(1) as f64;
    let x = |environments: usize| LEFT + environments as f64 / largest * WIDTH;
    let (first, second) = (TOP, TOP + HEIGHT + GAP);
    let failed = |row: &Row| first + HEIGHT - row.failed as f64 / row.invocations as f64 * HEIGHT;
    let latency = |row: &Row| {
        let share = (row.p99.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
        second + HEIGHT - share * HEIGHT
    };
    let mut svg = String::new();
    let mut subjects: Vec<&str> = rows.iter().map(|row| row.subject).collect();
    subjects.dedup();
    for (y, name) in [(&failed as &dyn Fn(&Row) -> f64, false), (&latency, true)] {
        for subject in &subjects {
            let of: Vec<&Row> = rows.iter().filter(|row| row.subject == *subject).collect();
            let points: Vec<String> =
                of.iter().map(|row| format!("{:.1} {:.1}", x(row.environments), y(row))).collect();
            // Into a string: it cannot fail.
            let _ = writeln!(svg, "<path class=\"{subject}\" d=\"M{}\"/>", points.join("L"));
            if let Some(last) = of.last().filter(|_| name) {
                let (x, y) = (x(last.environments) + 8.0, y(last) + 4.0);
                let _ = writeln!(svg, "<text x=\"{x:.0}\" y=\"{y:.0}\">{}</text>", title(subject));
            }
        }
    }
    let marks = [(first, "100 %"), (first + HEIGHT, "0 %"), (second, "30 s"), (second + HEIGHT / 3.0, "3 s")];
    let marks = marks.into_iter().chain([(second + HEIGHT * 2.0 / 3.0, "0.3 s"), (second + HEIGHT, "30 ms")]);
    for (y, text) in marks {
        let _ = writeln!(svg, "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{text}</text>", LEFT - 8.0, y + 4.0);
    }
    let mut counts: Vec<usize> = rows.iter().map(|row| row.environments).collect();
    counts.sort_unstable();
    counts.dedup();
    for count in counts {
        let (x, y) = (x(count), second + HEIGHT + 18.0);
        let _ = writeln!(svg, "<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"middle\">{count}</text>");
    }
    let (right, bottom) = (LEFT + WIDTH, second + HEIGHT);
    let axes = format!("M{LEFT} {first}v{HEIGHT}H{right}M{LEFT} {second}v{HEIGHT}H{right}");
    fs::write(
        path,
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {:.0}\" role=\"img\">\n\
             <title>Failures and 99th percentile over the number of environments</title>\n<style>{STYLE}</style>\n\
             <text x=\"{LEFT}\" y=\"16\">Environments on {} slots: invocations that fail, and below the 99th percentile</text>\n\
             <path class=\"axis\" d=\"{axes}\"/>\n{svg}</svg>\n",
            right + RIGHT,
            bottom + 30.0,
            rows.first().map_or(0, |row| row.slots),
        ),
    )
}

fn title(subject: &str) -> &str {
    match subject {
        "rds" => "lambda-rds",
        "each" => "a connect for each",
        "pool" => "PgPool of one",
        "pgbouncer" => "PgBouncer",
        _ => "through PgBouncer",
    }
}
