//! The progress line of `hairpin bench`, on standard error if that is a terminal.

use crate::bench::plan::{Plan, Workload};
use crate::bench::rate::Rate;
use crate::bench::results::text;
use crate::bench::worker::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A bar over the plan's duration, or a spinner while searching, whose duration is unknown.
pub struct ProgressLine {
    bar: ProgressBar,
    duration: Duration,
    last: Reading,
}

/// The counts shown last.
struct Reading {
    at: Instant,
    received: u64,
}

impl ProgressLine {
    /// Shows the line.
    pub fn start(plan: &Plan) -> ProgressLine {
        let is_search = plan.rate == Rate::Max && plan.workload != Workload::Allocate;
        let (bar, template) = match is_search {
            true => (
                ProgressBar::new_spinner(),
                "{spinner} {elapsed_precise} {wide_msg}",
            ),
            false => (
                ProgressBar::new(plan.duration.as_millis() as u64),
                "{elapsed_precise} {bar:30} {wide_msg}",
            ),
        };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressLine {
            bar: bar.with_style(style),
            duration: plan.duration,
            last: Reading {
                at: Instant::now(),
                received: 0,
            },
        }
    }

    /// Replaces the text.
    pub fn set_message(&self, message: &str) {
        self.bar.set_message(message.to_owned());
    }

    /// Moves the bar.
    pub fn set_elapsed(&self, elapsed: Duration) {
        let elapsed = elapsed.min(self.duration);
        self.bar.set_position(elapsed.as_millis() as u64);
    }

    /// Shows the rate of packets received, five times a second at most, after the name of the
    /// current step.
    pub fn show_packets(&mut self, step: &str, progress: &Progress) {
        let sent = progress.sent.load(Ordering::Relaxed);
        let received = progress.received.load(Ordering::Relaxed);
        let elapsed = self.last.at.elapsed();
        let is_new_run = received < self.last.received;
        if !is_new_run && elapsed < REDRAW_INTERVAL {
            return;
        }
        let since = received.saturating_sub(self.last.received);
        self.last = Reading {
            at: Instant::now(),
            received,
        };
        if is_new_run {
            return;
        }
        let colon = if step.is_empty() { "" } else { ": " };
        self.bar.set_message(format!(
            "{step}{colon}{}/s, {} in flight or lost",
            text::count(since as f64 / elapsed.as_secs_f64()),
            text::count(sent.saturating_sub(received) as f64)
        ));
    }

    /// Removes the line.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

const REDRAW_INTERVAL: Duration = Duration::from_millis(200);
