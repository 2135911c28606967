//! Queries: word by word with a [`State`], and many positions at once.

use super::table::prefetch;
use super::{MAX_ORDER, Model, NO_EXTENSION, Weights, extend_key, has_extension};
use crate::vocab::{UNK, WordId};

/// Positions scored together. Their working set fits the first-level cache beside the lines prefetched.
const CHUNK: usize = 128;
/// Words of history that a key can reach back to.
const HISTORY: usize = MAX_ORDER - 1;

/// The context that the next word can still depend on: words newest first with the backoff weight of the
/// n-gram up to each.
#[derive(Debug, Clone, Copy, Default)]
pub struct State {
    words: [WordId; HISTORY],
    backoff: [f32; HISTORY],
    length: u8,
}

impl State {
    /// The words of the context, newest first.
    pub fn words(&self) -> &[WordId] {
        &self.words[..usize::from(self.length)]
    }

    fn backoffs(&self) -> &[f32] {
        &self.backoff[..usize::from(self.length)]
    }
}

/// States are equal when no text that follows can tell them apart.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.words() == other.words()
    }
}

/// One word's score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FullScore {
    /// log10 of the probability of the word in its context.
    pub log10: f32,
    /// Length of the longest n-gram of the model that ends in the word.
    pub ngram_length: usize,
}

impl Model {
    /// The state after `<s>`. The state without any context is [`State::default`].
    pub fn begin_state(&self) -> State {
        let mut state = State { length: 1, ..State::default() };
        state.words[0] = self.bos;
        state.backoff[0] = self.unigrams[self.bos as usize].backoff;
        state
    }

    /// Scores one word after a state, and gives the state after that word. An id that the model does not
    /// have counts as `<unk>`.
    ///
    /// To score a whole text, [`score`](Self::score) is several times as fast.
    pub fn full_score(&self, state: &State, word: WordId) -> (FullScore, State) {
        let word = self.known(word);
        let mut next = State::default();
        next.words[0] = word;
        next.words[1..].copy_from_slice(&state.words[..HISTORY - 1]);
        let weights = self.unigrams[word as usize];
        next.backoff[0] = weights.backoff;
        next.length = u8::from(has_extension(weights.backoff));
        let mut score = FullScore { log10: -weights.prob.abs(), ngram_length: 1 };
        let mut extends_left = weights.prob.is_sign_positive();
        let mut key = u64::from(word);
        for (older, backoff) in state.words().iter().zip(state.backoffs()) {
            if !extends_left || !has_extension(*backoff) {
                break;
            }
            key = extend_key(key, *older);
            let n = score.ngram_length + 1;
            if n == self.order {
                if let Some(prob) = self.longest.get(key) {
                    score = FullScore { log10: prob, ngram_length: n };
                }
                break;
            }
            let Some(weights) = self.middle[n - 2].get(key) else { break };
            score = FullScore { log10: -weights.prob.abs(), ngram_length: n };
            next.backoff[n - 1] = weights.backoff;
            if has_extension(weights.backoff) {
                next.length = n as u8;
            }
            extends_left = weights.prob.is_sign_positive();
        }
        for backoff in state.backoffs().iter().skip(score.ngram_length - 1) {
            score.log10 += backoff;
        }
        (score, next)
    }

    /// Scores a text: log10 of the probability of each of `ids` in its context, and of `</s>` after them
    /// when `eos`. With `bos` the first word has `<s>` as its context, otherwise none.
    ///
    /// `out` is cleared first; it ends with `ids.len()` values, one more when `eos`. The values are the same
    /// as those of [`full_score`](Self::full_score), bit for bit.
    pub fn score(&self, ids: &[WordId], bos: bool, eos: bool, out: &mut Vec<f32>) {
        let length = ids.len() + usize::from(eos);
        out.clear();
        out.resize(length, 0.0);
        let mut chunk = Chunk::new(self.order, if bos { self.begin_state() } else { State::default() });
        for (c, out) in out.chunks_mut(CHUNK).enumerate() {
            let start = c * CHUNK;
            let words = &ids[start..ids.len().min(start + CHUNK)];
            let taken = chunk.fill(self, words);
            if taken < out.len() {
                chunk.words[HISTORY + taken] = self.eos;
            }
            chunk.score(self, out);
            chunk.carry(out.len());
        }
    }

    #[inline(always)]
    fn known(&self, word: WordId) -> WordId {
        if (word as usize) < self.unigrams.len() { word } else { UNK }
    }
}

/// A position whose next longer n-gram may exist.
#[derive(Clone, Copy, Default)]
struct Open {
    /// Key of that n-gram.
    key: u64,
    at: usize,
}

/// The working set of up to [`CHUNK`] positions.
struct Chunk {
    order: usize,
    /// The words, after as many of those before them as a key can need.
    words: [WordId; HISTORY + CHUNK],
    /// `backoff[n - 1][i + 1]`: of the n-gram that ends at position `i`, "no extension" where there is
    /// none. Index 0 is the position before the chunk.
    backoff: [[f32; CHUNK + 1]; HISTORY],
    open: [Open; CHUNK],
}

impl Chunk {
    fn new(order: usize, state: State) -> Self {
        let mut chunk = Self {
            order,
            words: [UNK; HISTORY + CHUNK],
            backoff: [[NO_EXTENSION; CHUNK + 1]; HISTORY],
            open: [Open::default(); CHUNK],
        };
        for (i, (word, backoff)) in state.words().iter().zip(state.backoffs()).enumerate() {
            chunk.words[HISTORY - 1 - i] = *word;
            chunk.backoff[i][0] = *backoff;
        }
        chunk
    }

    fn fill(&mut self, model: &Model, words: &[WordId]) -> usize {
        for (to, word) in self.words[HISTORY..].iter_mut().zip(words) {
            *to = model.known(*word);
            prefetch(model.unigrams.as_ptr().wrapping_add(*to as usize).cast());
        }
        words.len()
    }

    /// Makes the end of this chunk the context of the next.
    fn carry(&mut self, length: usize) {
        self.words.copy_within(length..length + HISTORY, 0);
        for backoff in &mut self.backoff[..self.order - 1] {
            backoff[0] = backoff[length];
        }
    }

    /// Scores the first `out.len()` positions.
    fn score(&mut self, model: &Model, out: &mut [f32]) {
        let mut open = self.unigrams(model, out);
        for n in 2..self.order {
            let table = &model.middle[n - 2];
            for o in &self.open[..open] {
                table.prefetch(o.key);
            }
            open = self.middle(model, n, open, out);
        }
        if self.order > 1 {
            for o in &self.open[..open] {
                model.longest.prefetch(o.key);
            }
            back_off(out, &self.backoff[self.order - 2]);
            for o in &self.open[..open] {
                if let Some(prob) = model.longest.get(o.key) {
                    out[o.at] = prob;
                }
            }
        }
    }

    /// Unigram scores; returns how many bigrams are worth a lookup.
    fn unigrams(&mut self, model: &Model, out: &mut [f32]) -> usize {
        let mut open = 0;
        for (i, out) in out.iter_mut().enumerate() {
            let word = self.words[HISTORY + i];
            let Weights { prob, backoff } = model.unigrams[word as usize];
            *out = -prob.abs();
            if self.order > 1 {
                self.backoff[0][i + 1] = backoff;
                self.open[open] =
                    Open { key: extend_key(u64::from(word), self.words[HISTORY + i - 1]), at: i };
                open += usize::from(prob.is_sign_positive() & has_extension(self.backoff[0][i]));
            }
        }
        open
    }

    /// Scores of a middle order at the open positions; returns how many longer n-grams are worth a lookup.
    fn middle(&mut self, model: &Model, n: usize, open: usize, out: &mut [f32]) -> usize {
        back_off(out, &self.backoff[n - 2]);
        self.backoff[n - 1][1..=out.len()].fill(NO_EXTENSION);
        let backoff = &mut self.backoff[n - 1];
        let mut still_open = 0;
        for o in 0..open {
            let Open { key, at } = self.open[o];
            let Some(weights) = model.middle[n - 2].get(key) else { continue };
            out[at] = -weights.prob.abs();
            backoff[at + 1] = weights.backoff;
            self.open[still_open] = Open { key: extend_key(key, self.words[HISTORY + at - n]), at };
            still_open += usize::from(weights.prob.is_sign_positive() & has_extension(backoff[at]));
        }
        still_open
    }
}

/// Charges each position the backoff of its context; where the longer n-gram is found, its probability
/// takes the place of the sum.
#[inline(always)]
fn back_off(out: &mut [f32], contexts: &[f32; CHUNK + 1]) {
    for (out, context) in out.iter_mut().zip(contexts) {
        *out += context;
    }
}
