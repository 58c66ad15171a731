//! Plots as inline SVG.

use crate::bench::results::text::duration;
use std::fmt::Write;

pub(super) struct Plot {
    pub(super) title: &'static str,
    pub(super) subtitle: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
    /// A horizontal line with its label.
    pub(super) limit: Option<(f64, &'static str)>,
}

pub(super) struct Axis {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) is_logarithmic: bool,
    /// Writes a value with its unit.
    pub(super) label: fn(f64) -> String,
}

pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    pub(super) mark: Mark,
    pub(super) points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mark {
    Line,
    /// A line and the area below it.
    Area,
    /// Bars, each up to the x of the next point.
    Bars,
    Dots,
}

pub(super) fn linear(series: &[Series], label: fn(f64) -> String) -> Axis {
    Axis {
        from: 0.0,
        ..linear_by(series, |point| point.1, label)
    }
}

pub(super) fn linear_by(
    series: &[Series],
    of: fn(&(f64, f64)) -> f64,
    label: fn(f64) -> String,
) -> Axis {
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

pub(super) fn logarithmic(series: &[Series]) -> Axis {
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
pub(super) fn figure(plot: &Plot) -> String {
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

fn at_x(plot: &Plot, value: f64) -> f64 {
    LEFT + plot.x.position(value) * (RIGHT - LEFT)
}

fn at_y(plot: &Plot, value: f64) -> f64 {
    BOTTOM - plot.y.position(value) * (BOTTOM - TOP)
}

/// A duration without `.0`, for an axis.
pub(super) fn round_duration(us: f64) -> String {
    duration(us).replace(".0 ", " ")
}

/// A number with k for thousands and M for millions.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{} M", trim(value / 1e6)),
        v if v >= 1e3 => format!("{} k", trim(value / 1e3)),
        _ => trim(value),
    }
}

/// A number with up to three decimals, without trailing zeros.
pub(super) fn trim(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn escape(text: &str) -> String {
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
}
