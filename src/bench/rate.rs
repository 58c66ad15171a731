//! The rate of a load.

use std::fmt;

/// How fast packets or allocations are offered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Packets or allocations per second, over all flows.
    PerSecond(f64),
    /// The highest rate with a loss below 0.1 %, which is searched for.
    Max,
    /// As fast as packets return, with this number of them in flight: saturates a server without
    /// overloading it.
    InFlight(usize),
}

/// A text that is not a [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateError;

impl Rate {
    /// The rate of one of `parts` workers.
    pub fn share(self, parts: usize) -> Rate {
        match self {
            Rate::PerSecond(rate) => Rate::PerSecond(rate / parts as f64),
            Rate::InFlight(packets) => Rate::InFlight(packets.div_ceil(parts)),
            Rate::Max => Rate::Max,
        }
    }
}

impl std::str::FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Rate, RateError> {
        if text == "max" {
            return Ok(Rate::Max);
        }
        let (number, unit) = match text.strip_suffix(['k', 'K']) {
            Some(number) => (number, 1000.0),
            None => (text, 1.0),
        };
        match number.parse::<f64>() {
            Ok(rate) if rate.is_finite() => Ok(Rate::PerSecond(rate * unit)),
            Ok(_) | Err(_) => Err(RateError),
        }
    }
}

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a number of packets per second, such as 5000 or 5k, or max")
    }
}

impl std::error::Error for RateError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_with_or_without_k_or_max() {
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("1.5k".parse(), Ok(Rate::PerSecond(1500.0)));
        assert_eq!("20".parse(), Ok(Rate::PerSecond(20.0)));
        assert_eq!("fast".parse::<Rate>(), Err(RateError));
    }
}
