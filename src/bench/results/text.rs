//! The outcome for a terminal.

use crate::bench::results::{Latency, Outcome, Packets};
use std::fmt::Write;

/// The outcome as lines of text, with the histogram drawn.
pub fn render(outcome: &Outcome) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}\n", title(outcome));
    if let Some(allocations) = &outcome.allocations {
        let _ = write!(
            out,
            "  allocations  {} in all   {}/s",
            count(allocations.count as f64),
            count(allocations.per_second)
        );
        let _ = write!(
            out,
            "   p50 {}   p99 {}",
            duration(allocations.p50_us),
            duration(allocations.p99_us)
        );
        if let Some(cpu) = allocations.cpu_us {
            let _ = write!(out, "   server CPU {cpu:.1} µs each");
        }
        if let Some(resident) = allocations.resident_octets {
            let _ = write!(out, "   resident {} B each", count(resident));
        }
        out.push('\n');
    }
    if let Some(packets) = &outcome.packets {
        lines_of_packets(&mut out, packets);
    }
    lines_of_latency(&mut out, &outcome.latency);
    if let Some(process) = &outcome.process {
        let what = unit_of_work(outcome);
        let _ = writeln!(
            out,
            "  server       CPU {} ns per {what}{}   {:.2} cores   resident {:.1} MB   {} threads   {:.3} switches per {what}",
            count(process.cpu_ns_per_packet),
            process.kernel.map_or(String::new(), |kernel| format!(
                " ({:.0} % in the kernel)",
                kernel * 100.0
            )),
            process.cores,
            process.resident_octets as f64 / 1e6,
            process.threads,
            process.switches_per_packet,
        );
    }
    if let Some(loader) = &outcome.loader {
        // What it takes for a packet says little: it spins to hold a pace.
        let _ = writeln!(out, "  this loader  {:.2} cores", loader.cores);
    }
    if !outcome.probes.is_empty() {
        let _ = writeln!(out, "  tried        {}", tried(outcome));
    }
    if outcome.loader_bound {
        let _ = writeln!(
            out,
            "  note         the loader could send no more than this: the server may be faster"
        );
    }
    if outcome.answer_bound {
        let _ = writeln!(out, "  note         {ANSWER_BOUND}");
    }
    if let Some(cause) = &outcome.ended_early {
        let _ = writeln!(
            out,
            "  note         ended after {:.1} s: {cause}",
            outcome.seconds
        );
    }
    out
}

/// What to make of answers that stop at a bound.
pub const ANSWER_BOUND: &str = "answers stop where hairpin's answer_rate does by default, for each network: raise it to measure the server";

/// What is counted: `packet` or `allocation`.
pub fn unit_of_work(outcome: &Outcome) -> &'static str {
    if outcome.packets.is_some() {
        "packet"
    } else {
        "allocation"
    }
}

/// What was run, in one line.
pub fn title(outcome: &Outcome) -> String {
    let flows = count(outcome.flows as f64);
    let over = &outcome.transport;
    let server = &outcome.server;
    match outcome.direction {
        Some(direction) => {
            let carrier = if outcome.indications {
                "indications"
            } else {
                "channels"
            };
            let burst = if outcome.burst > 1 {
                format!(", bursts of {}", outcome.burst)
            } else {
                String::new()
            };
            format!(
                "relay {direction}   {server} over {over}   {flows} flows × {} B{burst}, {carrier}",
                count(outcome.size as f64)
            )
        }
        None => format!(
            "{}   {server} over {over}   {flows} clients",
            outcome.workload
        ),
    }
}

/// A number with its thousands apart, without fraction.
pub fn count(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if number < 0.0 { format!("-{out}") } else { out }
}

/// Microseconds in the unit that fits.
pub fn duration(us: f64) -> String {
    match us {
        us if us < 10.0 => format!("{us:.1} µs"),
        us if us < 1_000.0 => format!("{us:.0} µs"),
        us if us < 10_000.0 => format!("{:.1} ms", us / 1e3),
        us if us < 1_000_000.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

/// Bits a second in the unit that fits.
pub fn bits(rate: f64) -> String {
    match rate {
        rate if rate < 1e6 => format!("{:.0} kbit/s", rate / 1e3),
        rate if rate < 1e9 => format!("{:.1} Mbit/s", rate / 1e6),
        rate => format!("{:.2} Gbit/s", rate / 1e9),
    }
}

fn lines_of_packets(out: &mut String, packets: &Packets) {
    let offered = packets.offered_per_second.map_or(String::new(), |rate| {
        format!("   ({}/s offered)", count(rate))
    });
    let _ = writeln!(
        out,
        "  throughput   {} packets/s   {}{offered}",
        count(packets.per_second),
        bits(packets.bits_per_second)
    );
    let _ = writeln!(
        out,
        "  loss         {:.3} % ({} of {})   reordered {}   duplicated {}   corrupted {}",
        packets.loss * 100.0,
        count(packets.lost as f64),
        count(packets.sent as f64),
        count(packets.reordered as f64),
        count(packets.duplicates as f64),
        count(packets.corrupted as f64),
    );
    if packets.unsent > 0 {
        let _ = writeln!(
            out,
            "  not sent     {} packets: the loader could not hold the pace",
            count(packets.unsent as f64)
        );
    }
}

fn lines_of_latency(out: &mut String, latency: &Latency) {
    if latency.histogram.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "  latency      p50 {}   p90 {}   p99 {}   p99.9 {}   max {}\n",
        duration(latency.p50_us),
        duration(latency.p90_us),
        duration(latency.p99_us),
        duration(latency.p99_9_us),
        duration(latency.max_us),
    );
    let bars = joined(&latency.histogram);
    let greatest = bars.iter().map(|bar| bar.2).max().unwrap_or(1).max(1);
    let total: u64 = bars.iter().map(|bar| bar.2).sum();
    for (from, _, packets) in bars {
        let length = packets as f64 / greatest as f64 * BAR as f64;
        let share = packets as f64 * 100.0 / total.max(1) as f64;
        let _ = writeln!(
            out,
            "    {:>8} │{:<BAR$} {share:>6.2} %",
            duration(from),
            bar(length)
        );
    }
    out.push('\n');
}

/// Joins neighbours until there are few enough rows for a screen.
fn joined(bars: &[(f64, f64, u64)]) -> Vec<(f64, f64, u64)> {
    let together = bars.len().div_ceil(ROWS).max(1);
    let join = |group: &[(f64, f64, u64)]| {
        let (first, last) = (
            group.first().map_or(0.0, |bar| bar.0),
            group.last().map_or(0.0, |bar| bar.1),
        );
        (first, last, group.iter().map(|bar| bar.2).sum())
    };
    bars.chunks(together).map(join).collect()
}

/// A bar of so many eighths of a character.
fn bar(length: f64) -> String {
    let eighths = (length * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if let Some(part) = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8) {
        bar.push_str(part);
    }
    bar
}

fn tried(outcome: &Outcome) -> String {
    let mut said: Vec<String> = Vec::new();
    for probe in &outcome.probes {
        let mark = match probe {
            probe if probe.loss >= crate::bench::search::LOSS => "lossy",
            probe if probe.unsent >= crate::bench::search::LOSS => "loader",
            _ => "good",
        };
        said.push(format!("{} {mark}", count(probe.rate)));
    }
    said.join(", ")
}

/// Characters of the longest bar.
const BAR: usize = 40;
/// Rows of the histogram at most.
const ROWS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_units_fit() {
        assert_eq!(
            (count(0.4), count(999.0), count(-1_234_567.0)),
            ("0".into(), "999".into(), "-1,234,567".into())
        );
        assert_eq!(
            (duration(9.96), duration(1500.0), duration(2e6)),
            ("10.0 µs".into(), "1.5 ms".into(), "2.0 s".into())
        );
        assert_eq!(bits(1.5e9), "1.50 Gbit/s");
    }

    #[test]
    fn a_long_histogram_is_joined_to_a_screen() {
        let bars: Vec<_> = (0..100)
            .map(|at| (f64::from(at), f64::from(at + 1), 1))
            .collect();
        let joined = joined(&bars);
        assert!(joined.len() <= ROWS && joined.iter().map(|bar| bar.2).sum::<u64>() == 100);
    }
}
