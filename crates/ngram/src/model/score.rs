//! Queries: word by word with a [`State`], and many positions at once.

use super::table::{Line, Table, prefetch};
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
        self.score_many([ids], bos, eos, out);
    }

    /// Scores many texts, each by itself as [`score`](Self::score) does; their values follow one another in
    /// `out`. For short texts this is faster than one call each: positions of several are scored together.
    pub fn score_many<'a>(
        &self,
        texts: impl IntoIterator<Item = &'a [WordId]>,
        bos: bool,
        eos: bool,
        out: &mut Vec<f32>,
    ) {
        out.clear();
        let mut chunk = Chunk::new(self, bos);
        for ids in texts {
            chunk.start(out);
            let mut rest = ids;
            while !rest.is_empty() {
                rest = chunk.fill(rest, out);
            }
            if eos {
                chunk.fill(&[self.eos], out);
            }
        }
        chunk.score(out);
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
///
/// Before the first word of each text comes a position that stands for its start. It has the backoff of the
/// first context, and no score.
struct Chunk<'a> {
    model: &'a Model,
    /// The word at a start, and the backoff of the context that it leaves.
    start: (WordId, f32),
    length: usize,
    /// The words, after as many of those before them as a key can need.
    words: [WordId; HISTORY + CHUNK],
    is_start: [bool; CHUNK],
    scores: [f32; CHUNK],
    /// `backoff[n - 1][i + 1]`: of the n-gram that ends at position `i`, "no extension" where there is
    /// none. Index 0 is the position before the chunk.
    backoff: [[f32; CHUNK + 1]; HISTORY],
    open: [Open; CHUNK],
    /// Indices in `open` of keys that need a second line.
    beyond: [u8; CHUNK],
}

impl<'a> Chunk<'a> {
    fn new(model: &'a Model, bos: bool) -> Self {
        let backoff = if bos { model.unigrams[model.bos as usize].backoff } else { NO_EXTENSION };
        Self {
            model,
            start: (model.bos, backoff),
            length: 0,
            words: [UNK; HISTORY + CHUNK],
            is_start: [false; CHUNK],
            scores: [0.0; CHUNK],
            backoff: [[NO_EXTENSION; CHUNK + 1]; HISTORY],
            open: [Open::default(); CHUNK],
            beyond: [0; CHUNK],
        }
    }

    /// Begins a text.
    fn start(&mut self, out: &mut Vec<f32>) {
        if self.length == CHUNK {
            self.score(out);
        }
        self.words[HISTORY + self.length] = self.start.0;
        self.is_start[self.length] = true;
        self.length += 1;
    }

    /// Takes as many words as there is room for, after scoring if there is none. Returns the rest.
    fn fill<'w>(&mut self, words: &'w [WordId], out: &mut Vec<f32>) -> &'w [WordId] {
        if self.length == CHUNK {
            self.score(out);
        }
        let (taken, rest) = words.split_at(words.len().min(CHUNK - self.length));
        let start = HISTORY + self.length;
        for (to, word) in self.words[start..start + taken.len()].iter_mut().zip(taken) {
            *to = self.model.known(*word);
            prefetch(self.model.unigrams.as_ptr().wrapping_add(*to as usize).cast());
        }
        self.is_start[self.length..self.length + taken.len()].fill(false);
        self.length += taken.len();
        rest
    }

    /// Scores all positions, and makes the end of this chunk the context of the next.
    fn score(&mut self, out: &mut Vec<f32>) {
        let model = self.model;
        let mut open = self.unigrams();
        for n in 2..model.order {
            open = self.middle(n, open);
        }
        if model.order > 1 {
            self.back_off(model.order);
            let found = self.look_up(&model.longest, open, f32::NAN);
            for (Open { at, .. }, prob) in self.open.iter().zip(&found[..open]) {
                self.scores[*at] = if prob.is_nan() { self.scores[*at] } else { *prob };
            }
        }
        let scored = self.scores[..self.length].iter().zip(&self.is_start);
        out.extend(scored.filter(|(_, is_start)| !**is_start).map(|(score, _)| score));
        self.words.copy_within(self.length..self.length + HISTORY, 0);
        for backoff in &mut self.backoff[..model.order - 1] {
            backoff[0] = backoff[self.length];
        }
        self.length = 0;
    }

    /// Unigram scores; returns how many bigrams are worth a lookup.
    fn unigrams(&mut self) -> usize {
        let mut open = 0;
        for i in 0..self.length {
            let word = self.words[HISTORY + i];
            let is_start = self.is_start[i];
            let Weights { prob, backoff } = self.model.unigrams[word as usize];
            self.scores[i] = -prob.abs();
            self.backoff[0][i + 1] = if is_start { self.start.1 } else { backoff };
            self.open[open] = Open { key: extend_key(u64::from(word), self.words[HISTORY + i - 1]), at: i };
            let extends = prob.is_sign_positive() & has_extension(self.backoff[0][i]);
            open += usize::from(extends & !is_start);
        }
        open
    }

    /// Scores of a middle order at the open positions; returns how many longer n-grams are worth a lookup.
    fn middle(&mut self, n: usize, open: usize) -> usize {
        const ABSENT: Weights = Weights { prob: f32::NAN, backoff: NO_EXTENSION };
        self.back_off(n);
        let found = self.look_up(&self.model.middle[n - 2], open, ABSENT);
        let backoff = &mut self.backoff[n - 1];
        backoff[1..=self.length].fill(NO_EXTENSION);
        let mut still_open = 0;
        for (o, Weights { prob, backoff: weight }) in found[..open].iter().copied().enumerate() {
            let Open { key, at } = self.open[o];
            self.scores[at] = if prob.is_nan() { self.scores[at] } else { -prob.abs() };
            backoff[at + 1] = weight;
            self.open[still_open] = Open { key: extend_key(key, self.words[HISTORY + at - n]), at };
            let extends_left = prob.is_sign_positive() & !prob.is_nan();
            still_open += usize::from(extends_left & has_extension(backoff[at]));
        }
        still_open
    }

    /// Charges each position the backoff of its context of `n - 1` words; where the n-gram is found, its
    /// probability takes the place of the sum.
    fn back_off(&mut self, n: usize) {
        for (score, context) in self.scores[..self.length].iter_mut().zip(&self.backoff[n - 2]) {
            *score += context;
        }
    }

    /// The values of the first `open` keys, `absent` for those that the table does not have.
    #[inline(always)]
    fn look_up<L: Line>(&mut self, table: &Table<L>, open: usize, absent: L::Value) -> [L::Value; CHUNK] {
        let mut found = [absent; CHUNK];
        let open = &self.open[..open];
        for o in open {
            table.prefetch(o.key);
        }
        let mut beyond = 0;
        for (i, (o, found)) in open.iter().zip(&mut found).enumerate() {
            let first = table.first_line(o.key);
            *found = if first.found { first.value } else { absent };
            self.beyond[beyond] = i as u8;
            beyond += usize::from(first.passed_on);
        }
        for i in &self.beyond[..beyond] {
            table.prefetch_second(open[usize::from(*i)].key);
        }
        for i in &self.beyond[..beyond] {
            if let Some(value) = table.get(open[usize::from(*i)].key) {
                found[usize::from(*i)] = value;
            }
        }
        found
    }
}
