//! Suggests the right name for a misspelled key.

/// The candidate that a misspelled name most likely means: at most one typo per three characters,
/// where two swapped letters are one typo.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let (distance, candidate) = candidates
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .min()?;
    (distance <= name.chars().count().max(3) / 3).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_one_typo_away() {
        let candidates = || ["relay_ports", "listen", "realm"].into_iter();
        assert_eq!(nearest("relay_prots", candidates()), Some("relay_ports"));
        assert_eq!(nearest("lisen", candidates()), Some("listen"));
        assert_eq!(nearest("raelm", candidates()), Some("realm"));
        assert_eq!(nearest("service_host", candidates()), None);
        assert_eq!(nearest("port", candidates()), None);
    }
}
