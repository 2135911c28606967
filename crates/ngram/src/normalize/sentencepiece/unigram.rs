//! The most likely segmentation under a unigram model.

use super::proto::Kind;
use super::{Pieces, UNKNOWN, char_length};

/// What an unknown character costs beyond the least likely piece.
const UNKNOWN_PENALTY: f32 = 10.0;

/// The best way to each byte of the text.
#[derive(Default)]
pub(super) struct Lattice {
    best: Vec<Best>,
    path: Vec<(usize, usize, u32)>,
}

#[derive(Clone, Copy)]
struct Best {
    score: f32,
    start: usize,
    id: u32,
}

/// Nothing ends here yet.
const NOWHERE: usize = usize::MAX;

impl Lattice {
    pub(super) fn cut(&mut self, text: &str, pieces: &Pieces, emit: &mut impl FnMut(&str, u32)) {
        let bytes = text.as_bytes();
        let Self { best, path } = self;
        best.clear();
        best.resize(bytes.len() + 1, Best { score: 0.0, start: NOWHERE, id: UNKNOWN });
        let unknown = pieces.lowest - UNKNOWN_PENALTY;
        let mut start = 0;
        while start < bytes.len() {
            let here = best[start].score;
            let char_length = char_length(bytes[start]);
            let mut offer = |length: usize, score: f32, id: u32| {
                let end = &mut best[start + length];
                let score = score + here;
                if end.start == NOWHERE || score > end.score {
                    *end = Best { score, start, id };
                }
            };
            let mut covered = false;
            pieces.trie.prefixes(&bytes[start..], |length, id| {
                let score = match pieces.kinds[id as usize] {
                    Kind::Unused => return,
                    Kind::UserDefined => (f64::from(length as f32 * pieces.highest) - 0.1) as f32,
                    _ => pieces.scores[id as usize],
                };
                offer(length, score, id);
                covered |= length == char_length;
            });
            if !covered {
                offer(char_length, unknown, UNKNOWN);
            }
            start += char_length;
        }
        path.clear();
        let mut end = bytes.len();
        while end > 0 {
            let Best { start, id, .. } = best[end];
            path.push((start, end, id));
            end = start;
        }
        path.iter().rev().for_each(|(start, end, id)| emit(&text[*start..*end], *id));
    }
}
