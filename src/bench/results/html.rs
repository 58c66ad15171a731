//! The result as one self-contained HTML page: tiles, plots in inline SVG, and a table, in the
//! reader's light or dark theme.

use crate::bench::results::plot::{
    Axis, Mark, Plot, Series, escape, figure, linear, linear_by, logarithmic, round_duration,
    short, trim,
};
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

fn table(outcome: &Outcome) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    if let Some(packets) = &outcome.packets {
        if let Some(offered) = packets.offered_per_second {
            rows.push(("Offered", format!("{}/s", count(offered))));
        }
        let (sent, received) = (count(packets.sent as f64), count(packets.received as f64));
        rows.push(("Sent, received", format!("{sent}, {received}")));
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
    fn text_is_escaped_and_the_style_loads_nothing() {
        assert_eq!(
            escape("<a href=\"x\">&"),
            "&lt;a href=&quot;x&quot;&gt;&amp;"
        );
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }
}
