//! The timeline as SVG, and the figures as CSV. Written by hand: it is a few rectangles.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use crate::Series;
use crate::application::Contestant;
use crate::trial::{PATIENCE, Trial};

/// What is shown, in steps of 10 ms around the fault.
const FROM: i64 = -50;
const TO: i64 = 650;

/// Pixels: of a step, left of the lanes, of a lane, and of one request in it.
const STEP: f64 = 1.2;
const LEFT: f64 = 190.0;
const LANE: f64 = 64.0;
const REQUEST: f64 = 3.5;
const TOP: f64 = 40.0;

/// Readable on white and on black.
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#59636e}.good{fill:#2da44e}.failed{fill:#cf222e}\
                     .axis{stroke:#8c959f;stroke-width:1}.mark{stroke:#8c959f;stroke-dasharray:3 3}\
                     @media(prefers-color-scheme:dark){text{fill:#9198a1}.good{fill:#3fb950}.failed{fill:#f85149}}";

pub(crate) fn write(path: &Path, all: &[Series]) -> io::Result<()> {
    fs::write(path, timeline(all))?;
    fs::write(path.with_extension("csv"), figures(all))
}

fn figures(all: &[Series]) -> String {
    let mut csv = "writer,contestant,run,promoted_ms,recovered_ms,own_ms,failed\n".to_owned();
    for series in all {
        for (run, trial) in series.trials.iter().enumerate() {
            let promoted = milliseconds(trial, trial.writes);
            let recovered = trial.recovered().map(|at| format!("{:.1}", milliseconds(trial, at))).unwrap_or_default();
            let own = trial.own_part().map(|own| format!("{own:.1}")).unwrap_or_default();
            let (case, contestant) = (series.case.name, series.contestant.name());
            let failed = trial.failed();
            // Into a string: it cannot fail.
            let _ = writeln!(csv, "\"{case}\",{contestant},{run},{promoted:.1},{recovered},{own},{failed}");
        }
    }
    csv
}

/// The run in the middle of each contestant, for the cases that are not variants of another.
fn timeline(all: &[Series]) -> String {
    let shown: Vec<(&Series, &Trial)> = all
        .iter()
        .filter(|series| !series.case.name.contains([',', ':']))
        // One server for all in the picture.
        .filter(|series| series.contestant != Contestant::OursOnMariaDb)
        .filter_map(|series| Some((series, series.typical()?)))
        .collect();
    let lanes: String = shown.iter().enumerate().map(|(n, (series, trial))| lane(n, series, trial)).collect();
    let width = x(TO) + 20.0;
    let bottom = TOP + LANE * shown.len() as f64;
    let ticks: String = (0..=TO / 100)
        .map(|second| {
            let x = x(second * 100);
            format!("<text x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{second} s</text>\n", bottom + 16.0)
        })
        .collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {:.0}\" role=\"img\">\n\
         <title>Good and failed writes per 10 ms around a failover</title>\n<style>{STYLE}</style>\n\
         <text x=\"{LEFT}\" y=\"16\">Writes per 10 ms: <tspan class=\"good\">good</tspan> up, \
         <tspan class=\"failed\">failed</tspan> down. The writer is lost at 0 s; dashed: the new one takes writes.</text>\n\
         {lanes}{ticks}</svg>\n",
        bottom + 26.0,
    )
}

fn lane(n: usize, series: &Series, trial: &Trial) -> String {
    let middle = TOP + LANE * n as f64 + LANE / 2.0;
    let steps = usize::try_from(TO - FROM).unwrap_or_default();
    let (mut good, mut failed) = (vec![0_u32; steps], vec![0_u32; steps]);
    for request in &trial.requests {
        // Rounded down, also before the fault.
        let step = (milliseconds(trial, request.ended) / 10.0).floor();
        let counts = if request.taken_by.is_some() { &mut good } else { &mut failed };
        #[allow(clippy::cast_possible_truncation, reason = "a few hundred")]
        if let Some(count) = usize::try_from(step as i64 - FROM).ok().and_then(|step| counts.get_mut(step)) {
            *count += 1;
        }
    }
    let (start, end) = (x(FROM), x(TO));
    let (top, bottom) = (middle - LANE / 2.0 + 4.0, middle + LANE / 2.0 - 4.0);
    let promoted = x(0) + milliseconds(trial, trial.writes) / 10.0 * STEP;
    let case = series.case.name;
    let never = if trial.recovered().is_some() {
        String::new()
    } else {
        let (at, seconds) = (middle - 6.0, PATIENCE.as_secs());
        format!("<text x=\"{end:.0}\" y=\"{at:.0}\" text-anchor=\"end\">not within {seconds} s</text>\n")
    };
    format!(
        "{never}<text x=\"8\" y=\"{:.0}\">writer {case}</text><text x=\"8\" y=\"{:.0}\">{}</text>\n\
         <path class=\"good\" d=\"{}\"/>\n<path class=\"failed\" d=\"{}\"/>\n\
         <path class=\"axis\" d=\"M{start:.1} {middle:.1}H{end:.1}M{:.1} {top:.1}V{bottom:.1}\"/>\n\
         <path class=\"mark\" d=\"M{promoted:.1} {top:.1}V{bottom:.1}\"/>\n",
        middle - 4.0,
        middle + 12.0,
        series.contestant.name(),
        bars(&good, middle, -REQUEST),
        bars(&failed, middle, REQUEST),
        x(0),
    )
}

/// One bar for each run of equal counts.
fn bars(counts: &[u32], middle: f64, height: f64) -> String {
    let mut path = String::new();
    let mut at = 0;
    for same in counts.chunk_by(|a, b| a == b) {
        let (start, width) = (LEFT + at as f64 * STEP, same.len() as f64 * STEP);
        at += same.len();
        if same[0] > 0 {
            let _ = write!(path, "M{start:.1} {middle:.1}v{:.1}h{width:.1}V{middle:.1}z", f64::from(same[0]) * height);
        }
    }
    path
}

fn x(step: i64) -> f64 {
    LEFT + (step - FROM) as f64 * STEP
}

fn milliseconds(trial: &Trial, at: std::time::Instant) -> f64 {
    let before = trial.fault.saturating_duration_since(at).as_secs_f64();
    (at.saturating_duration_since(trial.fault).as_secs_f64() - before) * 1e3
}
