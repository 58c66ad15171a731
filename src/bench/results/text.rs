//! The result as text for a terminal.

use crate::bench::results::{Bar, Latency, Outcome, Packets};
use crate::bench::search::MAX_LOSS;
use std::fmt::Write;

/// The result as lines of text, with its latency histogram.
pub fn render(outcome: &Outcome) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}\n", title(outcome));
    if let Some(allocations) = &outcome.allocations {
        let _ = write!(
            out,
            "  allocations  {} in total   {}/s",
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
        write_packets(&mut out, packets);
    }
    write_latency(&mut out, &outcome.latency);
    if let Some(process) = &outcome.process {
        let unit = unit_of_work(outcome);
        let _ = writeln!(
            out,
            "  server       CPU {} ns per {unit}{}   {:.2} cores   resident {:.1} MB   {} threads   {:.3} switches per {unit}",
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
        // Its CPU time per packet means little: it spins to keep its pace.
        let _ = writeln!(out, "  generator    {:.2} cores", loader.cores);
    }
    if !outcome.probes.is_empty() {
        let _ = writeln!(out, "  tried        {}", tried_rates(outcome));
    }
    if outcome.loader_bound {
        let _ = writeln!(out, "  note         {LOADER_BOUND}");
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

/// The note of a run that was probably limited by the default `answer_rate`.
pub const ANSWER_BOUND: &str = "the rate of answers is about the default of hairpin's answer_rate, which limits each network: raise it to measure the server";
/// The note of a run that the load generator limited.
pub const LOADER_BOUND: &str = "the load generator could not send more: the server may be faster";

/// What the run counts: `packet` or `allocation`.
pub fn unit_of_work(outcome: &Outcome) -> &'static str {
    if outcome.packets.is_some() {
        "packet"
    } else {
        "allocation"
    }
}

/// The workload and the server in one line.
pub fn title(outcome: &Outcome) -> String {
    let flows = count(outcome.flows as f64);
    let transport = outcome.transport;
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
                "relay {direction}   {server} over {transport}   {flows} flows × {} B{burst}, {carrier}",
                count(outcome.size as f64)
            )
        }
        None => format!(
            "{}   {server} over {transport}   {flows} clients",
            outcome.workload
        ),
    }
}

/// A number without fraction, with commas between thousands.
pub fn count(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if number < 0.0 { format!("-{out}") } else { out }
}

/// A number of microseconds in a readable unit.
pub fn duration(us: f64) -> String {
    match us {
        us if us < 10.0 => format!("{us:.1} µs"),
        us if us < 1_000.0 => format!("{us:.0} µs"),
        us if us < 10_000.0 => format!("{:.1} ms", us / 1e3),
        us if us < 1_000_000.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

/// A number of bits per second in a readable unit.
pub fn bits(rate: f64) -> String {
    match rate {
        rate if rate < 1e6 => format!("{:.0} kbit/s", rate / 1e3),
        rate if rate < 1e9 => format!("{:.1} Mbit/s", rate / 1e6),
        rate => format!("{:.2} Gbit/s", rate / 1e9),
    }
}

fn write_packets(out: &mut String, packets: &Packets) {
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
            "  not sent     {} packets: the load generator could not keep the pace",
            count(packets.unsent as f64)
        );
    }
}

fn write_latency(out: &mut String, latency: &Latency) {
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
    let bars = merge_to_rows(&latency.histogram);
    let greatest = bars.iter().map(|bar| bar.count).max().unwrap_or(1).max(1);
    let total: u64 = bars.iter().map(|bar| bar.count).sum();
    for bar in bars {
        let length = bar.count as f64 / greatest as f64 * BAR_WIDTH as f64;
        let share = bar.count as f64 * 100.0 / total.max(1) as f64;
        let _ = writeln!(
            out,
            "    {:>8} │{:<BAR_WIDTH$} {share:>6.2} %",
            duration(bar.from_us),
            draw_bar(length)
        );
    }
    out.push('\n');
}

/// Merges adjacent bars until they fit on a screen.
fn merge_to_rows(bars: &[Bar]) -> Vec<Bar> {
    let bars_per_row = bars.len().div_ceil(MAX_ROWS).max(1);
    let merge = |group: &[Bar]| Bar {
        from_us: group.first().map_or(0.0, |bar| bar.from_us),
        to_us: group.last().map_or(0.0, |bar| bar.to_us),
        count: group.iter().map(|bar| bar.count).sum(),
    };
    bars.chunks(bars_per_row).map(merge).collect()
}

/// A bar of `length` characters, drawn in eighths.
fn draw_bar(length: f64) -> String {
    let eighths = (length * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if let Some(part) = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8) {
        bar.push_str(part);
    }
    bar
}

fn tried_rates(outcome: &Outcome) -> String {
    let rates = outcome.probes.iter().map(|probe| {
        let result = match probe {
            probe if probe.loss >= MAX_LOSS => "lossy",
            probe if probe.unsent >= MAX_LOSS => "not sent in time",
            _ => "good",
        };
        format!("{} {result}", count(probe.rate))
    });
    rates.collect::<Vec<_>>().join(", ")
}

/// Characters of the longest bar.
const BAR_WIDTH: usize = 40;
/// Rows of the histogram at most.
const MAX_ROWS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_units_are_readable() {
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
    fn a_long_histogram_is_merged_to_fit_a_screen() {
        let bars: Vec<_> = (0..100)
            .map(|step| Bar {
                from_us: f64::from(step),
                to_us: f64::from(step + 1),
                count: 1,
            })
            .collect();
        let rows = merge_to_rows(&bars);
        assert!(rows.len() <= MAX_ROWS);
        assert_eq!(rows.iter().map(|bar| bar.count).sum::<u64>(), 100);
    }
}
