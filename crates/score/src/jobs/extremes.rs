//! The best and the worst documents, as a state that merges.

use serde::{Deserialize, Serialize};

use super::summary::Example;

/// Documents listed at either end.
const LISTED: usize = 10;

/// Characters of text in an example.
const EXCERPT: usize = 240;

/// A document of a known shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Seen {
    score: f64,
    shard: u32,
    row: u64,
    id: String,
    text: String,
}

/// The documents with the highest and the lowest scores; equal scores in the order of shard and row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Extremes {
    high: Vec<Seen>,
    low: Vec<Seen>,
}

/// Puts a document into a list that holds the greatest of `key`, greatest first; ties in order of place.
fn place(list: &mut Vec<Seen>, key: f64, sign: f64, shard: u32, row: u64, make: impl FnOnce() -> Seen) {
    let before = |s: &Seen| {
        let other = s.score * sign;
        other > key || other == key && (s.shard, s.row) < (shard, row)
    };
    let at = list.partition_point(before);
    if at < LISTED {
        list.insert(at, make());
        list.truncate(LISTED);
    }
}

impl Extremes {
    /// Shows one document. Infinite scores and NaN are no examples.
    pub(crate) fn offer(&mut self, score: f64, shard: u32, row: u64, id: &str, text: &str) {
        if !score.is_finite() {
            return;
        }
        let make = || Seen { score, shard, row, id: id.to_owned(), text: excerpt(text) };
        place(&mut self.high, score, 1.0, shard, row, make);
        place(&mut self.low, -score, -1.0, shard, row, make);
    }

    /// Adds what was seen elsewhere.
    pub(crate) fn merge(&mut self, other: &Self) {
        for s in &other.high {
            place(&mut self.high, s.score, 1.0, s.shard, s.row, || s.clone());
        }
        for s in &other.low {
            place(&mut self.low, -s.score, -1.0, s.shard, s.row, || s.clone());
        }
    }

    /// Both lists, the highest and the lowest first; `file` names a shard.
    pub(crate) fn into_examples(self, file: impl Fn(u32) -> String) -> (Vec<Example>, Vec<Example>) {
        let list = |seen: Vec<Seen>| -> Vec<Example> {
            let example = |s: Seen| {
                let Seen { score, shard, row, id, text } = s;
                Example { id, score, file: file(shard), row, text }
            };
            seen.into_iter().map(example).collect()
        };
        (list(self.high), list(self.low))
    }
}

/// How a text begins, on one line.
fn excerpt(text: &str) -> String {
    let mut out = String::new();
    let mut left = EXCERPT;
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
            left -= 1;
        }
        for c in word.chars() {
            if left <= 1 {
                out.truncate(out.trim_end().len());
                out.push('…');
                return out;
            }
            out.push(c);
            left -= 1;
        }
        if left <= 1 {
            out.push('…');
            return out;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use gristmill_core::hash::hash64;

    use super::*;

    fn score(n: u64) -> f64 {
        // Few values, so that there are ties.
        (hash64(1, &n.to_le_bytes()) % 50) as f64 - 25.0
    }

    fn seen(rows: impl Iterator<Item = u64>) -> Extremes {
        let mut e = Extremes::default();
        rows.for_each(|n| e.offer(score(n), (n % 3) as u32, n, &n.to_string(), "a text"));
        e
    }

    #[test]
    fn lists_are_those_of_sorting_in_any_order_and_in_parts() {
        let mut all: Vec<u64> = (0..1000).collect();
        let whole = seen(all.iter().copied());
        assert_eq!(seen(all.iter().rev().copied()), whole);
        let mut parts = seen(0..400);
        parts.merge(&seen(400..1000));
        assert_eq!(parts, whole);

        let rows = |examples: &[Example]| examples.iter().map(|e| e.row).collect::<Vec<_>>();
        let (high, low) = whole.into_examples(|shard| format!("shard {shard}"));
        all.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then((a % 3, a).cmp(&(b % 3, b))));
        assert_eq!(rows(&high), all[..LISTED]);
        all.sort_by(|&a, &b| score(a).total_cmp(&score(b)).then((a % 3, a).cmp(&(b % 3, b))));
        assert_eq!(rows(&low), all[..LISTED]);
        assert_eq!(high[0].file, format!("shard {}", high[0].row % 3));
    }

    #[test]
    fn what_is_no_number_is_no_example() {
        let mut e = Extremes::default();
        for score in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            e.offer(score, 0, 0, "id", "text");
        }
        assert_eq!(e, Extremes::default());
    }

    #[test]
    fn an_excerpt_is_one_line_of_bounded_length() {
        assert_eq!(excerpt("  one\n\ttwo  three\n"), "one two three");
        assert_eq!(excerpt(""), "");
        for text in ["é".repeat(5000), "word ".repeat(5000)] {
            let short = excerpt(&text);
            assert!(short.chars().count() <= EXCERPT && short.chars().count() > EXCERPT - 6, "{short}");
            assert!(short.ends_with('…'));
        }
    }
}
