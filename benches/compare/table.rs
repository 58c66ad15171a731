//! The table, for people and for README.

use crate::contender::Contender;
use crate::row::Cell;

/// One line's numbers, by contender.
pub struct Line {
    cell: &'static Cell,
    more_is_better: bool,
    numbers: Vec<Numbers>,
}

/// What the rounds of one contender found.
pub struct Numbers {
    /// Every round's number; none where a server cannot.
    pub all: Vec<f64>,
    /// How many cores the server was busy with, where that was measured: below one it waited for the loader.
    pub cores: Option<f64>,
}

impl Numbers {
    fn median(&self) -> Option<f64> {
        median(self.all.clone())
    }

    /// How far apart the rounds were, of their median.
    fn spread(&self) -> f64 {
        let (least, most) = self
            .all
            .iter()
            .fold((f64::MAX, 0.0f64), |(a, b), n| (a.min(*n), b.max(*n)));
        self.median().map_or(0.0, |middle| (most - least) / middle)
    }
}

impl Line {
    /// The line of a cell.
    pub fn new(cell: &'static Cell, more_is_better: bool, numbers: Vec<Numbers>) -> Line {
        Line {
            cell,
            more_is_better,
            numbers,
        }
    }

    /// For the terminal, as it comes.
    pub fn to_text(&self, contenders: &[Contender]) -> String {
        let mut out = format!("{:<55}", self.cell.title);
        for (contender, numbers) in contenders.iter().zip(&self.numbers) {
            let shown = numbers.median().map_or("–".to_owned(), |number| {
                let busy = numbers
                    .cores
                    .map_or(String::new(), |cores| format!(" ({cores:.2} cores)"));
                format!(
                    "{} {} ±{:.0}%{busy}",
                    say(number),
                    self.cell.unit,
                    numbers.spread() * 50.0
                )
            });
            out.push_str(&format!("  {} {shown}", contender.name));
        }
        out
    }

    /// How much better the first contender is than another; above 1 is better.
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

/// The whole as markdown.
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
            let said = |number| {
                format!("{} {}", say(number), line.cell.unit)
                    .trim()
                    .to_owned()
            };
            numbers.median().map_or("–".into(), said)
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

/// The middle of some numbers.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

fn say(number: f64) -> String {
    match number {
        number if number >= 100.0 => hairpin::bench::results::text::count(number),
        number => format!("{number:.2}"),
    }
}
