//! What somebody meant who wrote something else.

/// The one of some names that is near enough to have been meant.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, found) = known.map(|key| (distance(name, key), key)).min()?;
    (distance <= name.len().max(3) / 3).then_some(found)
}

/// How many characters have to be inserted, left out, replaced or swapped to get from one name to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let at =
                |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&row, j) + usize::from(from != *to);
            next.push(replaced.min(at(&row, j + 1) + 1).min(at(&next, j) + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_what_a_typo_makes() {
        let known = || ["relay_ports", "listen", "realm"].into_iter();
        assert_eq!(nearest("relay_prots", known()), Some("relay_ports"));
        assert_eq!(nearest("lisen", known()), Some("listen"));
        assert_eq!(nearest("service_host", known()), None);
        assert_eq!(nearest("port", known()), None);
    }
}
