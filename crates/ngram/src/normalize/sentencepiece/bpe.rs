//! Byte-pair encoding: of all neighbours that make a piece together, those of the best score are joined
//! first, the leftmost on a tie.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::proto::Kind;
use super::trie::Trie;
use super::{Pieces, UNKNOWN, char_length};

#[derive(Default)]
pub(super) struct Merges {
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Pair>,
    /// Where pieces that may not stay were joined.
    steps: HashMap<Box<str>, usize>,
}

/// A stretch of the text, linked to its neighbours; empty once it was joined to the one before.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    end: usize,
    before: usize,
    after: usize,
    /// A user-defined symbol: joined with nothing.
    frozen: bool,
}

const NONE: usize = usize::MAX;

/// Greater is joined earlier.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    score: OrderedScore,
    left: Reverse<usize>,
    right: usize,
    length: usize,
}

#[derive(PartialEq)]
struct OrderedScore(f32);

impl Eq for OrderedScore {}

impl PartialOrd for OrderedScore {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrderedScore {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Scores were checked to be finite; both zeros are equal to the original's comparison.
        (self.0 + 0.0).total_cmp(&(other.0 + 0.0))
    }
}

impl Merges {
    pub(super) fn cut(
        &mut self,
        text: &str,
        pieces: &Pieces,
        user_defined: Option<&Trie>,
        emit: &mut impl FnMut(&str, u32),
    ) {
        let Self { symbols, queue, steps } = self;
        symbols.clear();
        queue.clear();
        steps.clear();
        let bytes = text.as_bytes();
        let mut start = 0;
        while start < bytes.len() {
            let whole = user_defined.and_then(|trie| trie.longest(&bytes[start..]));
            let end = start + whole.unwrap_or_else(|| char_length(bytes[start]));
            let at = symbols.len();
            symbols.push(Symbol {
                start,
                end,
                before: at.wrapping_sub(1),
                after: at + 1,
                frozen: whole.is_some(),
            });
            start = end;
        }
        let Some(last) = symbols.last_mut() else { return };
        last.after = NONE;

        let mut offer = |symbols: &[Symbol], queue: &mut BinaryHeap<Pair>, left: usize, right: usize| {
            if left == NONE || right == NONE || symbols[left].frozen || symbols[right].frozen {
                return;
            }
            let joined = &text[symbols[left].start..symbols[right].end];
            if let Some(id) = pieces.trie.get(joined.as_bytes()) {
                if pieces.kinds[id as usize] == Kind::Unused {
                    steps.insert(joined.into(), symbols[left].end - symbols[left].start);
                }
                let score = OrderedScore(pieces.scores[id as usize]);
                queue.push(Pair { score, left: Reverse(left), right, length: joined.len() });
            }
        };
        for right in 1..symbols.len() {
            offer(symbols, queue, right - 1, right);
        }
        while let Some(Pair { left: Reverse(left), right, length, .. }) = queue.pop() {
            let (a, b) = (symbols[left], symbols[right]);
            let stale = a.start == a.end || b.start == b.end || b.end - a.start != length || a.after != right;
            if stale {
                continue;
            }
            symbols[left].end = b.end;
            symbols[left].after = b.after;
            symbols[right].start = symbols[right].end;
            if b.after != NONE {
                symbols[b.after].before = left;
            }
            offer(symbols, queue, a.before, left);
            offer(symbols, queue, left, b.after);
        }

        let mut at = 0;
        while at != NONE {
            let Symbol { start, end, after, .. } = symbols[at];
            resegment(&text[start..end], pieces, steps, emit);
            at = after;
        }
    }
}

/// A piece as it is, unless it may only be a step on the way to longer ones: then the two pieces that were
/// last seen to make it up, and so on.
fn resegment(
    text: &str,
    pieces: &Pieces,
    steps: &HashMap<Box<str>, usize>,
    emit: &mut impl FnMut(&str, u32),
) {
    let id = pieces.trie.get(text.as_bytes());
    let unused = id.is_some_and(|id| pieces.kinds[id as usize] == Kind::Unused);
    match steps.get(text).filter(|_| unused) {
        None => emit(text, id.unwrap_or(UNKNOWN)),
        Some(&at) => {
            resegment(&text[..at], pieces, steps, emit);
            resegment(&text[at..], pieces, steps, emit);
        }
    }
}
