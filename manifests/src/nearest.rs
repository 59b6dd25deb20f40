//! "Did you mean": the known word nearest to an unknown one, by edit distance.

/// The nearest of `known`, if one is near enough to be what was meant: a third of the word may differ, letter case is
/// free, and a word that only begins alike is near too.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LENGTH_MAX: usize = 100;
    if word.is_empty() || word.len() > LENGTH_MAX {
        return None;
    }
    let lower = word.to_lowercase();
    let judged = known.into_iter().filter(|candidate| candidate.len() <= LENGTH_MAX).map(|candidate| {
        let other = candidate.to_lowercase();
        let shortened = lower.len() >= 3 && (other.starts_with(&lower) || lower.starts_with(&other));
        let distance = distance(&lower, &other);
        (if shortened { distance.min(1) } else { distance }, candidate)
    });
    let (distance, candidate) = judged.min_by_key(|(distance, _)| *distance)?;
    (distance <= word.chars().count().max(candidate.chars().count()).div_ceil(3)).then_some(candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from one word to the other (optimal string
/// alignment).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    let mut last = None;
    for (place, letter) in from.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(place + 1);
        for (column, other) in to.iter().enumerate() {
            let replace = at(&row, column) + usize::from(*other != letter);
            let mut best = replace.min(at(&row, column + 1) + 1).min(at(&next, column) + 1);
            if column > 0 && last == Some(*other) && to.get(column - 1) == Some(&letter) {
                best = best.min(at(&before, column - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
        last = Some(letter);
    }
    at(&row, to.len())
}

fn at(row: &[usize], column: usize) -> usize {
    row.get(column).copied().unwrap_or(usize::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_text_book() {
        for (from, to, expected) in
            [("", "", 0), ("a", "", 1), ("prots", "ports", 1), ("kitten", "sitting", 3), ("é", "e", 1)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }

    #[test]
    fn only_a_near_word_is_proposed() {
        let known = ["ports", "selector", "clusterIP", "backendRefs"];
        assert_eq!(nearest("prots", known), Some("ports"));
        assert_eq!(nearest("clusterIp", known), Some("clusterIP"));
        assert_eq!(nearest("backends", known), Some("backendRefs"));
        assert_eq!(nearest("replicas", known), None);
        assert_eq!(nearest("", known), None);
    }
}
