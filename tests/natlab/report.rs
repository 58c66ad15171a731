//! Runs scenarios one after the other, records the expected and the observed result, and prints
//! them as tables. A failed scenario does not end the run.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};

use crate::nat::Nat;

/// Everything that ran.
pub struct Report {
    filters: Vec<String>,
    began: Instant,
    rows: Vec<Row>,
}

struct Row {
    group: &'static str,
    name: String,
    pair: Option<(Nat, Nat)>,
    expected: String,
    seen: Result<String, String>,
    took: Duration,
}

impl Report {
    /// A report of the scenarios whose group or name contains one of `filters`; of all when there
    /// is none.
    pub fn new(filters: Vec<String>) -> Report {
        Report {
            filters,
            began: Instant::now(),
            rows: Vec::new(),
        }
    }

    /// Returns true if a scenario of `group` may run.
    pub fn wants(&self, group: &str) -> bool {
        self.filters.is_empty()
            || self
                .filters
                .iter()
                .any(|filter| group.contains(filter.as_str()))
    }

    /// Runs one scenario, which passes if its result is the expected one.
    pub fn scenario(
        &mut self,
        group: &'static str,
        name: impl Display,
        expected: &str,
        work: impl FnMut() -> Result<String, String>,
    ) {
        self.run(group, name.to_string(), None, expected, work);
    }

    /// Runs one cell of the matrix of kinds.
    pub fn pair(
        &mut self,
        group: &'static str,
        a: Nat,
        b: Nat,
        expected: &str,
        work: impl FnMut() -> Result<String, String>,
    ) {
        self.run(group, format!("{a} - {b}"), Some((a, b)), expected, work);
    }

    /// Prints all tables; returns failure if a scenario failed.
    pub fn finish(self) -> ExitCode {
        let mut groups: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !groups.contains(&row.group) {
                groups.push(row.group);
            }
        }
        for group in groups {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.group == group).collect();
            let took: Duration = rows.iter().map(|row| row.took).sum();
            println!(
                "\n{group} ({} scenarios, {:.1} s)",
                rows.len(),
                took.as_secs_f32()
            );
            println!(
                "{}",
                if rows.iter().all(|row| row.pair.is_some()) {
                    matrix(&rows)
                } else {
                    list(&rows)
                }
            );
        }
        let failed: Vec<&Row> = self.rows.iter().filter(|row| !row.passed()).collect();
        for row in &failed {
            println!("FAILED: {}", row.complaint());
        }
        println!(
            "\nnatlab: {} scenarios, {} failed, {:.1} s",
            self.rows.len(),
            failed.len(),
            self.began.elapsed().as_secs_f32()
        );
        if failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn run(
        &mut self,
        group: &'static str,
        name: String,
        pair: Option<(Nat, Nat)>,
        expected: &str,
        mut work: impl FnMut() -> Result<String, String>,
    ) {
        if !self.wants(group) && !self.wants(&name) {
            return;
        }
        let began = Instant::now();
        let mut seen = attempt(&mut work);
        // Which of two good paths ICE nominates is a race, and the machine may be busy, so a
        // scenario may fail once. A scenario that must not connect runs once.
        if expected != NOT_CONNECTED && seen.as_ref().ok().is_none_or(|seen| *seen != expected) {
            eprintln!("natlab: {group}: {name}: expected {expected}, {seen:?}; once more");
            seen = attempt(&mut work);
        }
        let row = Row {
            group,
            name,
            pair,
            expected: expected.into(),
            seen,
            took: began.elapsed(),
        };
        if !row.passed() {
            eprintln!("natlab: {}", row.complaint());
        }
        self.rows.push(row);
    }
}

fn attempt(work: &mut impl FnMut() -> Result<String, String>) -> Result<String, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        Err(said
            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_else(|| "panicked".into()))
    })
}

/// The expected result of a call without a path.
pub const NOT_CONNECTED: &str = "not connected";

impl Row {
    fn passed(&self) -> bool {
        self.seen.as_ref().is_ok_and(|seen| *seen == self.expected)
    }

    fn complaint(&self) -> String {
        let seen = match &self.seen {
            Ok(seen) => format!("saw {seen}"),
            Err(error) => error.clone(),
        };
        format!(
            "{}: {}: expected {}, {seen}",
            self.group, self.name, self.expected
        )
    }

    fn cell(&self) -> String {
        if self.passed() {
            self.expected.clone()
        } else {
            format!("FAILED, not {}", self.expected)
        }
    }
}

fn list(rows: &[&Row]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    for row in rows {
        table.add_row([
            row.name.clone(),
            row.cell(),
            format!("{} ms", row.took.as_millis()),
        ]);
    }
    if let Some(times) = table.column_mut(2) {
        times.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The upper right half of a square: the kinds of the first home down, of the second across.
fn matrix(rows: &[&Row]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(std::iter::once(String::new()).chain(Nat::ALL.map(|nat| nat.to_string())));
    for a in Nat::ALL {
        let cell = |b: Nat| {
            rows.iter()
                .find(|row| row.pair == Some((a, b)))
                .map_or(String::new(), |row| row.cell())
        };
        table.add_row(std::iter::once(a.to_string()).chain(Nat::ALL.map(cell)));
    }
    table
}
