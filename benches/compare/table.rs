//! The table, for people and for README.

use crate::contender::Contender;

/// One row's numbers, by contender.
pub struct Line {
    /// What was measured.
    pub title: &'static str,
    /// In which unit.
    pub unit: &'static str,
    /// What is asked of Hairpin.
    pub target: &'static str,
    /// Whether a greater number is the better one.
    pub more_is_better: bool,
    /// Medians; `None` where a server cannot.
    pub numbers: Vec<Option<f64>>,
    /// How far apart the rounds were, of their median.
    pub spread: Vec<f64>,
}

impl Line {
    /// For the terminal, as it comes.
    pub fn to_text(&self, contenders: &[Contender]) -> String {
        let mut out = format!("{:<50}", self.title);
        for ((contender, number), spread) in contenders.iter().zip(&self.numbers).zip(&self.spread) {
            let shown = number
                .map_or("–".to_owned(), |number| format!("{} {} ±{:.0}%", say(number), self.unit, spread * 50.0));
            out.push_str(&format!("  {} {shown}", contender.name));
        }
        out
    }

    /// How much better the first contender is than another; above 1 is better.
    fn ratio(&self, other: usize) -> Option<f64> {
        let (own, other) = (self.numbers.first().copied()??, self.numbers.get(other).copied()??);
        Some(if self.more_is_better { own / other } else { other / own })
    }
}

/// The whole as markdown.
pub fn render(contenders: &[Contender], lines: &[Line]) -> String {
    let names: Vec<&str> = contenders.iter().map(|contender| contender.name.as_str()).collect();
    let reference = contenders.iter().position(Contender::is_reference);
    let mut out = format!("| | {} | ratio | asked |\n|---|{}---|---|\n", names.join(" | "), "---|".repeat(names.len()));
    for line in lines {
        let cell = |number: &Option<f64>| {
            number.map_or("–".into(), |number| format!("{} {}", say(number), line.unit).trim().to_owned())
        };
        let cells: Vec<String> = line.numbers.iter().map(cell).collect();
        let ratio = reference.and_then(|at| line.ratio(at)).map_or("–".into(), |ratio| format!("{ratio:.2} ×"));
        out.push_str(&format!("| {} | {} | {ratio} | {} |\n", line.title, cells.join(" | "), line.target));
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
        number if number >= 100.0 => hairpin::cli::bench::text::count(number),
        number => format!("{number:.2}"),
    }
}
