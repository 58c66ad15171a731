//! The validity dates of a certificate: rustls checks them but does not show them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The start and the end of a certificate's validity. `None` if the certificate is malformed.
///
/// RFC 5280 §4.1: Certificate { TBSCertificate { \[0\] version, serialNumber, signature, issuer,
/// validity … } }.
pub(super) fn validity(certificate: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let (0x30, certificate, _) = der(certificate)? else {
        return None;
    };
    let (0x30, mut rest, _) = der(certificate)? else {
        return None;
    };
    if let (0xa0, _, after) = der(rest)? {
        rest = after;
    }
    for _serial_signature_issuer in 0..3 {
        (_, _, rest) = der(rest)?;
    }
    let (0x30, dates, _) = der(rest)? else {
        return None;
    };
    let (start_tag, start, rest) = der(dates)?;
    let (end_tag, end, _) = der(rest)?;
    Some((date(start_tag, start)?, date(end_tag, end)?))
}

/// Splits the first DER value off: its tag, its content, and the rest.
fn der(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = octets.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest
            .split_first()
            .map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => rest
            .split_first_chunk()
            .map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Parses UTCTime `YYMMDDHHMMSSZ` (before 2050) or GeneralizedTime `YYYYMMDDHHMMSSZ`. RFC 5280
/// §4.1.2.5.
fn date(tag: u8, text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => text
            .split_at_checked(2)
            .map(|(year, rest)| (year.parse::<u64>().ok(), rest))?,
        GENERALIZED_TIME => text
            .split_at_checked(4)
            .map(|(year, rest)| (year.parse::<u64>().ok(), rest))?,
        _ => return None,
    };
    let year = match (tag, year?) {
        (UTC_TIME, year @ 50..) => 1900 + year,
        (UTC_TIME, year) => 2000 + year,
        (_, year) => year,
    };
    let pair = |at: usize| rest.get(at..at + 2)?.parse::<u64>().ok();
    let (month, day, hour, minute, second) = (pair(0)?, pair(2)?, pair(4)?, pair(6)?, pair(8)?);
    // Days since 1970. Years begin in March here, so that the leap day is the last of its year.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let days =
        (y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day).checked_sub(1 + 719_468)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(
        ((days * 24 + hour) * 60 + minute) * 60 + second,
    ))
}

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_parse_in_both_forms() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "261122083000Z", 1_795_336_200),
            (GENERALIZED_TIME, "20240229235959Z", 1_709_251_199),
            (GENERALIZED_TIME, "20500101000000Z", 2_524_608_000),
        ] {
            assert_eq!(
                date(tag, text.as_bytes()),
                Some(UNIX_EPOCH + Duration::from_secs(seconds)),
                "{text}"
            );
        }
        assert_eq!(date(GENERALIZED_TIME, b"2024"), None);
    }

    #[test]
    fn validity_is_found_and_no_truncation_panics() {
        let mut parameters = rcgen::CertificateParams::new(vec!["turn.test".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 2);
        parameters.not_after = rcgen::date_time_ymd(2055, 3, 4);
        let certificate = parameters
            .self_signed(&rcgen::KeyPair::generate().unwrap())
            .unwrap();
        let (start, end) = validity(certificate.der()).unwrap();
        assert_eq!(start, UNIX_EPOCH + Duration::from_secs(1_767_312_000));
        assert_eq!(end, UNIX_EPOCH + Duration::from_secs(2_687_731_200));
        for length in 0..certificate.der().len() {
            let _no_panic = validity(&certificate.der()[..length]);
        }
    }
}
