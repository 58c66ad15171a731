//! The parser of every duration in the configuration, on the command line and in admin requests.

use std::time::Duration;

/// Parses `90s`, `10m`, `24h`, `1h30m`, `7d`, `100ms` or `1.5s`. A number without a unit is in
/// seconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = text.strip_suffix(unit).unwrap_or(text);
    if !unit.is_empty() && !number.contains('.') {
        return humantime::parse_duration(text).ok();
    }
    // humantime knows neither fractions nor numbers without a unit.
    let unit = match unit {
        "" => Duration::from_secs(1),
        unit => humantime::parse_duration(&format!("1{unit}")).ok()?,
    };
    if let Ok(count) = number.parse::<u32>() {
        return unit.checked_mul(count);
    }
    let count: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(count * unit.as_secs_f64()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_fractions() {
        for (text, milliseconds) in [
            ("90", 90_000),
            ("0", 0),
            ("0.5", 500),
            ("90s", 90_000),
            ("100ms", 100),
            ("1.5s", 1_500),
            ("10m", 600_000),
            ("3min", 180_000),
            ("24h", 86_400_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
        ] {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(text), Some(duration), "{text}");
        }
        for text in [
            "",
            "h",
            "5x",
            "1h3",
            "-1s",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
