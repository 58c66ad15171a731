//! The result as one self-contained HTML page: tiles, plots in inline SVG, and a table, in the
//! reader's light or dark theme.

use crate::bench::results::text::{
    ANSWER_BOUND, LOADER_BOUND, bits, count, duration, title, unit_of_work,
};
use crate::bench::results::{Bar, Outcome, ProbeReport, TimelinePoint};
use crate::bench::search::MAX_LOSS;
use std::fmt::Write;

/// Renders the page.
pub fn render(outcome: &Outcome) -> String {
    let mut body = String::new();
    let _ = write!(
        body,
        "<header><p class=\"brand\">hairpin bench</p><h1>{}</h1></header>",
        escape(&title(outcome))
    );
    body.push_str("<section class=\"tiles\">");
    for Tile {
        name,
        value,
        detail,
    } in tiles(outcome)
    {
        let _ = write!(
            body,
            "<div class=\"tile\"><p class=\"name\">{name}</p><p class=\"value\">{value}</p><p class=\"detail\">{detail}</p></div>"
        );
    }
    body.push_str("</section><section class=\"plots\">");
    for plot in plots(outcome) {
        body.push_str(&figure(&plot));
    }
    body.push_str("</section>");
    body.push_str(&table(outcome));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>hairpin bench: {}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n",
        escape(&title(outcome))
    )
}

/// One figure at the top of the page.
struct Tile {
    name: &'static str,
    value: String,
    detail: String,
}

struct Plot {
    title: &'static str,
    subtitle: String,
    x: Axis,
    y: Axis,
    series: Vec<Series>,
    /// A horizontal line with its label.
    limit: Option<(f64, &'static str)>,
}

struct Axis {
    from: f64,
    to: f64,
    is_logarithmic: bool,
    /// Writes a value with its unit.
    label: fn(f64) -> String,
}

struct Series {
    name: &'static str,
    class: &'static str,
    mark: Mark,
    points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Line,
    /// A line and the area below it.
    Area,
    /// Bars, each up to the x of the next point.
    Bars,
    Dots,
}

fn tiles(outcome: &Outcome) -> Vec<Tile> {
    let mut tiles = Vec::new();
    let mut add = |name, value, detail| {
        tiles.push(Tile {
            name,
            value,
            detail,
        });
    };
    if let Some(packets) = &outcome.packets {
        add(
            "Throughput",
            format!("{}<small>/s</small>", count(packets.per_second)),
            bits(packets.bits_per_second),
        );
        add(
            "Loss",
            format!("{:.3}<small> %</small>", packets.loss * 100.0),
            format!(
                "{} of {}",
                count(packets.lost as f64),
                count(packets.sent as f64)
            ),
        );
    } else if let Some(allocations) = &outcome.allocations {
        add(
            "Allocations",
            format!("{}<small>/s</small>", count(allocations.per_second)),
            format!("{} in total", count(allocations.count as f64)),
        );
    }
    let latency = &outcome.latency;
    add(
        "Latency, median",
        small_unit(&duration(latency.p50_us)),
        format!("90 % within {}", duration(latency.p90_us)),
    );
    add(
        "Latency, 99 %",
        small_unit(&duration(latency.p99_us)),
        format!("99.9 % within {}", duration(latency.p99_9_us)),
    );
    if let Some(process) = &outcome.process {
        let kernel = process.kernel.map_or(String::new(), |kernel| {
            format!(", {:.0} % in the kernel", kernel * 100.0)
        });
        add(
            "Server CPU",
            small_unit(&duration(process.cpu_ns_per_packet / 1000.0)),
            format!("per {}{kernel}", unit_of_work(outcome)),
        );
        add(
            "Server memory",
            format!(
                "{:.1}<small> MB</small>",
                process.resident_octets as f64 / 1e6
            ),
            format!("{:.2} cores, {} threads", process.cores, process.threads),
        );
    }
    tiles
}

/// Marks up the unit after a number in small print.
fn small_unit(text: &str) -> String {
    match text.rsplit_once(' ') {
        Some((number, unit)) => format!("{number}<small> {unit}</small>"),
        None => text.to_owned(),
    }
}

fn plots(outcome: &Outcome) -> Vec<Plot> {
    let mut plots = Vec::new();
    let end = outcome.seconds;
    let time = || Axis {
        from: 0.0,
        to: end.max(0.001),
        is_logarithmic: false,
        label: |s| format!("{} s", trim(s)),
    };
    let line = |name, class, mark, value: fn(&TimelinePoint) -> f64| Series {
        name,
        class,
        mark,
        points: outcome
            .timeline
            .iter()
            .map(|moment| (moment.at, value(moment)))
            .collect(),
    };
    if outcome.timeline.len() > 1 {
        let received = |name| line(name, "one", Mark::Area, |moment| moment.received);
        let series = match outcome.packets {
            Some(_) => vec![
                received("received"),
                line("sent", "two", Mark::Line, |moment| moment.sent),
            ],
            None => vec![received("granted")],
        };
        plots.push(Plot {
            title: "Throughput",
            subtitle: format!("{}s per second", unit_of_work(outcome)),
            x: time(),
            y: linear(&series, short),
            series,
            limit: None,
        });
        let series = vec![
            line("median", "one", Mark::Line, |moment| moment.p50_us),
            line("99 %", "two", Mark::Line, |moment| moment.p99_us),
        ];
        plots.push(Plot {
            title: "Latency over time",
            subtitle: "from sending to receiving, logarithmic scale".into(),
            x: time(),
            y: logarithmic(&series),
            series,
            limit: None,
        });
    }
    if !outcome.latency.histogram.is_empty() {
        plots.push(distribution(outcome));
    }
    if outcome.usage.len() > 1 {
        let points = outcome
            .usage
            .iter()
            .map(|used| (used.at, used.cores))
            .collect();
        let series = vec![Series {
            name: "cores in use",
            class: "one",
            mark: Mark::Area,
            points,
        }];
        plots.push(Plot {
            title: "Server CPU",
            subtitle: "cores in use".into(),
            x: time(),
            y: linear(&series, |v| format!("{v:.2}")),
            series,
            limit: None,
        });
    }
    if !outcome.probes.is_empty() {
        plots.push(search(outcome));
    }
    plots
}

fn distribution(outcome: &Outcome) -> Plot {
    let bars = &outcome.latency.histogram;
    let total: u64 = bars.iter().map(|bar| bar.count).sum();
    let mut points: Vec<_> = bars
        .iter()
        .map(|bar: &Bar| (bar.from_us, bar.count as f64 * 100.0 / total.max(1) as f64))
        .collect();
    let (from, to) = (
        bars.first().map_or(1.0, |bar| bar.from_us),
        bars.last().map_or(2.0, |bar| bar.to_us),
    );
    points.push((to, 0.0));
    let series = vec![Series {
        name: "of all",
        class: "one",
        mark: Mark::Bars,
        points,
    }];
    Plot {
        title: "Latency, distribution",
        subtitle: format!("share of {}s, logarithmic scale", unit_of_work(outcome)),
        x: Axis {
            from,
            to,
            is_logarithmic: true,
            label: round_duration,
        },
        y: linear(&series, |v| format!("{} %", trim(v))),
        series,
        limit: None,
    }
}

fn search(outcome: &Outcome) -> Plot {
    let is_good = |probe: &ProbeReport| probe.loss < MAX_LOSS && probe.unsent < MAX_LOSS;
    let dots = |name, class, good: bool| Series {
        name,
        class,
        mark: Mark::Dots,
        points: outcome
            .probes
            .iter()
            .filter(|probe| is_good(probe) == good)
            .map(|probe| (probe.rate, probe.loss * 100.0))
            .collect(),
    };
    let series = vec![
        dots("good", "one", true),
        dots("lossy, or not sent in time", "two", false),
    ];
    let x = linear_by(&series, |point| point.0, short);
    Plot {
        title: "Search for the highest rate",
        subtitle: "loss at each offered rate".into(),
        x,
        y: Axis {
            from: 0.0,
            ..linear(&series, |v| format!("{} %", trim(v)))
        },
        series,
        limit: Some((0.1, "0.1 %")),
    }
}

fn linear(series: &[Series], label: fn(f64) -> String) -> Axis {
    Axis {
        from: 0.0,
        ..linear_by(series, |point| point.1, label)
    }
}

fn linear_by(series: &[Series], of: fn(&(f64, f64)) -> f64, label: fn(f64) -> String) -> Axis {
    let values = || {
        series
            .iter()
            .flat_map(|series| series.points.iter().map(of))
    };
    let greatest = values().fold(0.0, f64::max);
    let least = values().fold(greatest, f64::min);
    Axis {
        from: least * 0.95,
        to: if greatest > 0.0 { greatest * 1.05 } else { 1.0 },
        is_logarithmic: false,
        label,
    }
}

fn logarithmic(series: &[Series]) -> Axis {
    let values = || {
        series
            .iter()
            .flat_map(|series| series.points.iter().map(|point| point.1))
            .filter(|value| *value > 0.0)
    };
    let greatest = values().fold(1.0, f64::max);
    let least = values().fold(greatest, f64::min);
    Axis {
        from: 10f64.powf(least.log10().floor()),
        to: 10f64.powf(greatest.log10().ceil()).max(10.0),
        is_logarithmic: true,
        label: round_duration,
    }
}

impl Axis {
    /// The position of a value on the axis, 0 to 1.
    fn position(&self, value: f64) -> f64 {
        let scale = |value: f64| {
            if self.is_logarithmic {
                value.max(self.from).ln()
            } else {
                value
            }
        };
        let (from, to) = (scale(self.from), scale(self.to));
        ((scale(value) - from) / (to - from).max(1e-12)).clamp(0.0, 1.0)
    }

    /// Round values along the axis, to be labelled.
    fn ticks(&self) -> Vec<f64> {
        if self.is_logarithmic {
            let decades = (self.from.log10().floor() as i32)..=(self.to.log10().ceil() as i32);
            let steps: &[f64] = if self.to / self.from > 2000.0 {
                &[1.0]
            } else {
                &[1.0, 2.0, 5.0]
            };
            let all =
                decades.flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
            return all
                .filter(|tick| (self.from * 0.999..=self.to * 1.001).contains(tick))
                .collect();
        }
        let rough = (self.to - self.from) / 5.0;
        let unit = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|step| step * unit)
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let first = (self.from / step).ceil() as i64;
        let last = (self.to / step).floor() as i64;
        (first..=last).map(|tick| tick as f64 * step).collect()
    }
}

/// Renders a plot as `<figure>`.
fn figure(plot: &Plot) -> String {
    let mut out = format!(
        "<figure><figcaption><h2>{}</h2><p>{}</p>",
        plot.title,
        escape(&plot.subtitle)
    );
    if plot.series.len() > 1 {
        out.push_str("<p class=\"legend\">");
        for series in &plot.series {
            let _ = write!(
                out,
                "<span class=\"{}\">{}</span>",
                series.class, series.name
            );
        }
        out.push_str("</p>");
    }
    let _ = write!(
        out,
        "</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        plot.title
    );
    grid(&mut out, plot);
    for series in &plot.series {
        marks(&mut out, plot, series);
    }
    out.push_str("</svg></figure>");
    out
}

fn grid(out: &mut String, plot: &Plot) {
    let mut last = f64::INFINITY;
    for tick in plot.y.ticks() {
        let y = at_y(plot, tick);
        // Labels that would overlap are left out.
        if last - y < 14.0 {
            continue;
        }
        last = y;
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
        );
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 4.0,
            (plot.y.label)(tick)
        );
    }
    let mut last = f64::NEG_INFINITY;
    for tick in plot.x.ticks() {
        let x = at_x(plot, tick);
        if x - last < 52.0 {
            continue;
        }
        last = x;
        let _ = write!(
            out,
            "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 20.0,
            (plot.x.label)(tick)
        );
    }
    let _ = write!(
        out,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{BOTTOM}\" y2=\"{BOTTOM}\"/>"
    );
    if let Some((value, name)) = plot.limit {
        let y = at_y(plot, value);
        let _ = write!(
            out,
            "<line class=\"limit\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
        );
        let _ = write!(
            out,
            "<text x=\"{RIGHT}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            y - 5.0
        );
    }
}

fn marks(out: &mut String, plot: &Plot, series: &Series) {
    let positions: Vec<(f64, f64)> = series
        .points
        .iter()
        .map(|(x, y)| (at_x(plot, *x), at_y(plot, *y)))
        .collect();
    let class = series.class;
    let tooltip = |point: &(f64, f64)| {
        format!(
            "{}: {} {}",
            (plot.x.label)(point.0),
            (plot.y.label)(point.1),
            series.name
        )
    };
    if series.mark == Mark::Bars {
        for (pair, point) in positions.windows(2).zip(&series.points) {
            let (x, y, width) = (
                pair[0].0 + 0.75,
                pair[0].1,
                (pair[1].0 - pair[0].0 - 1.5).max(0.5),
            );
            let height = BOTTOM - y;
            let _ = write!(
                out,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"1.5\"><title>{}</title></rect>",
                tooltip(point)
            );
        }
        return;
    }
    let path: String = positions
        .iter()
        .enumerate()
        .map(|(index, (x, y))| format!("{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' }))
        .collect();
    if let (Mark::Area, Some(first), Some(last)) =
        (series.mark, positions.first(), positions.last())
    {
        let _ = write!(
            out,
            "<path class=\"{class} area\" d=\"{path}L{:.1} {BOTTOM}L{:.1} {BOTTOM}Z\"/>",
            last.0, first.0
        );
    }
    if series.mark != Mark::Dots {
        let _ = write!(out, "<path class=\"{class} line\" d=\"{path}\"/>");
    }
    let radius = if series.mark == Mark::Dots { 5.0 } else { 6.0 };
    let hidden = if series.mark == Mark::Dots {
        ""
    } else {
        " hidden"
    };
    for ((x, y), point) in positions.iter().zip(&series.points) {
        let _ = write!(
            out,
            "<circle class=\"{class}{hidden}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"><title>{}</title></circle>",
            tooltip(point)
        );
    }
}

fn table(outcome: &Outcome) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    if let Some(packets) = &outcome.packets {
        if let Some(offered) = packets.offered_per_second {
            rows.push(("Offered", format!("{}/s", count(offered))));
        }
        rows.push((
            "Sent, received",
            format!(
                "{}, {}",
                count(packets.sent as f64),
                count(packets.received as f64)
            ),
        ));
        let faults = [
            packets.reordered,
            packets.duplicates,
            packets.corrupted,
            packets.unsent,
        ]
        .map(|number| count(number as f64));
        rows.push((
            "Reordered, duplicated, corrupted, not sent",
            faults.join(", "),
        ));
    }
    let latency = &outcome.latency;
    let all = [
        latency.min_us,
        latency.mean_us,
        latency.p50_us,
        latency.p90_us,
        latency.p99_us,
        latency.p99_9_us,
        latency.max_us,
    ];
    rows.push((
        "Latency: min, mean, 50, 90, 99, 99.9 %, max",
        all.map(duration).join(", "),
    ));
    if let Some(made) = &outcome.allocations {
        let cpu = made.cpu_us.map_or(String::new(), |cpu| {
            format!(", {cpu:.1} µs of server CPU each")
        });
        rows.push((
            "Allocations",
            format!(
                "{} at {}/s{cpu}",
                count(made.count as f64),
                count(made.per_second)
            ),
        ));
    }
    if let Some(process) = &outcome.process {
        let switches = format!("{:.3}", process.switches_per_packet);
        rows.push((
            "Server: CPU time and context switches each",
            format!("{} ns, {switches}", count(process.cpu_ns_per_packet)),
        ));
    }
    if let Some(loader) = &outcome.loader {
        rows.push(("Load generator: cores", format!("{:.2}", loader.cores)));
    }
    if outcome.loader_bound {
        rows.push(("Note", LOADER_BOUND.into()));
    }
    if outcome.answer_bound {
        rows.push(("Note", ANSWER_BOUND.into()));
    }
    if let Some(cause) = &outcome.ended_early {
        rows.push((
            "Note",
            format!("ended after {:.1} s: {}", outcome.seconds, escape(cause)),
        ));
    }
    let row = |(name, value): (&str, String)| format!("<tr><th>{name}</th><td>{value}</td></tr>");
    format!(
        "<section class=\"table\"><table>{}</table></section>",
        rows.into_iter().map(row).collect::<String>()
    )
}

fn at_x(plot: &Plot, value: f64) -> f64 {
    LEFT + plot.x.position(value) * (RIGHT - LEFT)
}

fn at_y(plot: &Plot, value: f64) -> f64 {
    BOTTOM - plot.y.position(value) * (BOTTOM - TOP)
}

/// A duration without `.0`, for an axis.
fn round_duration(us: f64) -> String {
    duration(us).replace(".0 ", " ")
}

/// A number with k for thousands and M for millions.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{} M", trim(value / 1e6)),
        v if v >= 1e3 => format!("{} k", trim(value / 1e3)),
        _ => trim(value),
    }
}

/// A number with up to three decimals, without trailing zeros.
fn trim(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 704.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 236.0;

const STYLE: &str = "
:root{color-scheme:light dark;--ground:#f4f3ef;--card:#fcfcfb;--ink:#16150f;--soft:#5b5a54;--grid:#e5e4dd;--axis:#b9b8b0;--one:#2a78d6;--two:#d9622b;--edge:#e5e4dd}
@media(prefers-color-scheme:dark){:root{--ground:#121211;--card:#1c1c1a;--ink:#f5f4ef;--soft:#b4b3aa;--grid:#2e2e2b;--axis:#55544e;--one:#4b97ee;--two:#e8834f;--edge:#2e2e2b}}
*{box-sizing:border-box;margin:0}
body{background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif;padding:32px 20px 64px}
main{max-width:1180px;margin:0 auto;display:grid;gap:20px}
.brand{color:var(--one);font-weight:650;letter-spacing:.02em}
h1{font-size:22px;line-height:1.3;font-weight:620;overflow-wrap:anywhere}
h2{font-size:15px;font-weight:620}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px}
.tile,figure,.table{background:var(--card);border:1px solid var(--edge);border-radius:12px;padding:16px 18px}
.tile .name,.tile .detail,figcaption p{color:var(--soft);font-size:13px}
.tile .value{font-size:27px;line-height:1.25;font-weight:600;font-variant-numeric:tabular-nums;white-space:nowrap}
.tile small{font-size:15px;font-weight:500;color:var(--soft)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:12px}
figcaption{display:flex;flex-wrap:wrap;align-items:baseline;gap:2px 12px;margin-bottom:8px}
.legend{margin-left:auto;display:flex;gap:14px}
.legend span{display:inline-flex;align-items:center;gap:6px}
.legend span::before{content:\"\";width:14px;height:3px;border-radius:2px}
.legend .one::before{background:var(--one)}.legend .two::before{background:var(--two)}
svg{width:100%;height:auto;display:block}
svg text{fill:var(--soft);font-size:12px;font-variant-numeric:tabular-nums}
.grid{stroke:var(--grid)}.axis{stroke:var(--axis)}.limit{stroke:var(--axis);stroke-dasharray:4 4}
.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.one.line{stroke:var(--one)}.two.line{stroke:var(--two)}
.area{stroke:none;opacity:.14}.one.area,rect.one,circle.one{fill:var(--one)}circle.two{fill:var(--two)}
circle{stroke:var(--card);stroke-width:1.5}.hidden{opacity:0}.hidden:hover{opacity:1}rect:hover{opacity:.75}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:500;color:var(--soft);padding:6px 24px 6px 0;vertical-align:top}td{padding:6px 0}
tr+tr th,tr+tr td{border-top:1px solid var(--grid)}
@media(max-width:560px){body{padding:20px 12px}th,td{display:block;padding:4px 0}tr+tr td{border-top:0}}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let axis = Axis {
            from: 0.0,
            to: 103.0,
            is_logarithmic: false,
            label: trim,
        };
        assert_eq!(axis.ticks(), [0.0, 50.0, 100.0]);
        let axis = Axis {
            from: 10.0,
            to: 1000.0,
            is_logarithmic: true,
            label: duration,
        };
        assert_eq!(axis.ticks().len(), 7);
        assert!((axis.position(100.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn text_is_escaped_and_the_style_loads_nothing() {
        assert_eq!(
            escape("<a href=\"x\">&"),
            "&lt;a href=&quot;x&quot;&gt;&amp;"
        );
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }
}
