//! Durations on the command lines of the tools.

use crate::config::value;
use crate::config::value::{ValueError, out_of_range};
use std::time::Duration;

/// Parses a duration as configuration files write it, up to a week.
pub(super) fn duration(text: &str) -> Result<Duration, ValueError> {
    match value::duration(text)? {
        duration if duration > LONGEST => Err(out_of_range(text, "7d or less")),
        duration => Ok(duration),
    }
}

/// Keeps deadlines within the range of the clock.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_of_more_than_a_week_is_refused() {
        assert_eq!(duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("7d"), Ok(LONGEST));
        for text in ["", "s", "-1s", "8d", "99999999999999999999s", "9999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
