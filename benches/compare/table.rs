//! The table of results, as text and as markdown.

use crate::contender::Contender;
use crate::measure::median;

/// One line: a title, and the numbers of each server.
pub struct Line {
    cell: &'static Cell,
    more_is_better: bool,
    numbers: Vec<Numbers>,
}

/// The constant part of a line.
pub struct Cell {
    pub title: &'static str,
    pub unit: &'static str,
    /// The goal, mostly for the ratio to coturn.
    pub target: &'static str,
}

/// The results of one server for one cell.
pub struct Numbers {
    /// One number for each round; empty if the server cannot be measured so.
    pub all: Vec<f64>,
    /// Cores that the server kept busy; below 1 it waited for the load generator.
    pub cores: Option<f64>,
}

impl Numbers {
    fn median(&self) -> Option<f64> {
        median(self.all.clone())
    }

    /// The range of the rounds, divided by their median.
    fn spread(&self) -> f64 {
        let (least, most) = self
            .all
            .iter()
            .fold((f64::MAX, 0.0f64), |(a, b), n| (a.min(*n), b.max(*n)));
        self.median().map_or(0.0, |middle| (most - least) / middle)
    }
}

impl Line {
    pub fn new(cell: &'static Cell, more_is_better: bool, numbers: Vec<Numbers>) -> Line {
        Line {
            cell,
            more_is_better,
            numbers,
        }
    }

    /// The line for the terminal, printed as soon as it is measured.
    pub fn to_text(&self, contenders: &[Contender]) -> String {
        let mut out = format!("{:<55}", self.cell.title);
        for (contender, numbers) in contenders.iter().zip(&self.numbers) {
            let shown = numbers.median().map_or("–".to_owned(), |number| {
                let busy = numbers
                    .cores
                    .map_or(String::new(), |cores| format!(" ({cores:.2} cores)"));
                format!(
                    "{} {} ±{:.0}%{busy}",
                    format_number(number),
                    self.cell.unit,
                    numbers.spread() * 50.0
                )
            });
            out.push_str(&format!("  {} {shown}", contender.name));
        }
        out
    }

    /// The first server compared with another one; above 1 the first is better.
    fn ratio(&self, other: usize) -> Option<f64> {
        let (own, other) = (
            self.numbers.first()?.median()?,
            self.numbers.get(other)?.median()?,
        );
        Some(if self.more_is_better {
            own / other
        } else {
            other / own
        })
    }
}

/// The table as markdown.
pub fn render(contenders: &[Contender], lines: &[Line]) -> String {
    let names: Vec<&str> = contenders
        .iter()
        .map(|contender| contender.name.as_str())
        .collect();
    let reference = contenders.iter().position(Contender::is_reference);
    let mut out = format!(
        "| | {} | ratio | asked |\n|---|{}---|---|\n",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for line in lines {
        let cell = |numbers: &Numbers| {
            let text = |number| {
                format!("{} {}", format_number(number), line.cell.unit)
                    .trim()
                    .to_owned()
            };
            numbers.median().map_or("–".into(), text)
        };
        let cells: Vec<String> = line.numbers.iter().map(cell).collect();
        let ratio = reference
            .and_then(|at| line.ratio(at))
            .map_or("–".into(), |ratio| format!("{ratio:.2} ×"));
        out.push_str(&format!(
            "| {} | {} | {ratio} | {} |\n",
            line.cell.title,
            cells.join(" | "),
            line.cell.target
        ));
    }
    out
}

fn format_number(number: f64) -> String {
    match number {
        number if number >= 100.0 => hairpin::bench::results::text::count(number),
        number => format!("{number:.2}"),
    }
}
