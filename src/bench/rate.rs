//! How fast and how long, as people write it.

use std::fmt;
use std::time::Duration;

/// How fast packets (or allocations) are offered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// So many a second, over all flows.
    PerSecond(f64),
    /// Whatever the server relays with less than 0.1 % of loss: searched for.
    Max,
    /// As many as keep so many in flight: saturates the server without drowning it.
    Window(usize),
}

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        if text == "max" {
            return Ok(Rate::Max);
        }
        let (number, unit) = match text.strip_suffix(['k', 'K']) {
            Some(number) => (number, 1000.0),
            None => (text, 1.0),
        };
        match number.parse::<f64>() {
            Ok(rate) if rate.is_finite() => Ok(Rate::PerSecond(rate * unit)),
            _ => Err("a number of packets per second, or max".into()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::PerSecond(rate) => write!(f, "{rate:.0}/s"),
            Rate::Max => f.write_str("max"),
            Rate::Window(window) => write!(f, "{window} in flight"),
        }
    }
}

/// `10s`, `500ms`, `2m`, `1h`, or plain seconds.
///
/// # Errors
/// A sentence that says what is expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("a duration like 10s, 500ms or 2m".into()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "a duration like 10s, 500ms or 2m".to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_durations_are_read() {
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("1.5k".parse(), Ok(Rate::PerSecond(1500.0)));
        assert!("fast".parse::<Rate>().is_err());
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert!(duration("7d").is_err() && duration("s").is_err());
    }
}
