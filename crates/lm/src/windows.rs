//! How a document is cut into what a model sees at one time, and which predictions count.
//!
//! A document is a stream of tokens, with whatever stands before the first and after the last one as part of it. A
//! [`Window`] is a piece of the stream: all of its tokens but the last are input, and the predictions of its tokens
//! from `first` on count. Every plan here counts a token at most once.
//!
//! | Plan | Windows | Not predicted |
//! |---|---|---|
//! | [`Plan::Whole`] | one | the first token |
//! | [`Plan::Sliding`] | of so many tokens, a stride apart: the recipe of Hugging Face's page on perplexity | the first token; with a stride as long as the window, the first of each |
//! | [`Plan::Rolling`] | as `get_rolling_token_windows` of lm-evaluation-harness with one token of context: targets are disjoint, and the last window reaches back as far as the model sees | the first token, which there is a marker |

use std::ops::Range;

use gristmill_core::{Error, Result};

/// A piece of a stream of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The tokens; the last is only a target.
    pub tokens: Range<usize>,
    /// The first token whose prediction counts; after the first of `tokens`.
    pub first: usize,
}

impl Window {
    /// How many tokens the model reads.
    pub fn inputs(&self) -> usize {
        self.tokens.len() - 1
    }

    /// The tokens whose predictions count.
    pub fn targets(&self) -> Range<usize> {
        self.first..self.tokens.end
    }
}

/// A way to cut documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// All of it at once.
    Whole,
    /// Windows of `tokens` that begin `stride` apart; each counts what the one before did not reach.
    Sliding {
        /// Tokens of a window.
        tokens: usize,
        /// From one beginning to the next.
        stride: usize,
    },
    /// Windows of so many inputs, each of which counts so many targets.
    Rolling(usize),
}

impl Plan {
    /// Refuses a plan that cannot cut anything.
    ///
    /// # Errors
    /// [`gristmill_core::Code::InvalidArgument`].
    pub fn check(self) -> Result<()> {
        let least = |name, given: usize, least: usize| match given >= least {
            true => Ok(()),
            false => Err(Error::invalid_argument(name, format!("expected at least {least}, given {given}"))),
        };
        match self {
            Plan::Whole => Ok(()),
            Plan::Rolling(tokens) => least("window", tokens, 1),
            Plan::Sliding { tokens, stride } => {
                least("window", tokens, 2)?;
                least("stride", stride, 1)?;
                match stride <= tokens {
                    true => Ok(()),
                    false => {
                        let what = format!(
                            "{stride} is longer than the window of {tokens}: tokens between would not be scored"
                        );
                        Err(Error::invalid_argument("stride", what))
                    }
                }
            }
        }
    }

    /// The most inputs that a window of a stream of `len` tokens has.
    pub fn longest(self, len: usize) -> usize {
        let inputs = len.saturating_sub(1);
        match self {
            Plan::Whole => inputs,
            Plan::Sliding { tokens, .. } => inputs.min(tokens - 1),
            Plan::Rolling(tokens) => inputs.min(tokens),
        }
    }

    /// The windows of a stream of `len` tokens, in order; none if there is nothing to predict.
    pub fn windows(self, len: usize) -> Vec<Window> {
        if len < 2 {
            return Vec::new();
        }
        match self {
            Plan::Whole => vec![Window { tokens: 0..len, first: 1 }],
            Plan::Sliding { tokens, stride } => {
                let mut windows: Vec<Window> = Vec::new();
                for begin in (0..len).step_by(stride) {
                    let end = len.min(begin + tokens);
                    let first = windows.last().map_or(1, |w| w.tokens.end).max(begin + 1);
                    if first < end {
                        windows.push(Window { tokens: begin..end, first });
                    }
                    if end == len {
                        break;
                    }
                }
                windows
            }
            Plan::Rolling(tokens) => (1..len)
                .step_by(tokens)
                .map(|first| {
                    let end = len.min(first + tokens);
                    Window { tokens: (end - 1).saturating_sub(tokens)..end, first }
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::Code;

    use super::*;

    fn cut(plan: Plan, len: usize) -> Vec<(Range<usize>, usize)> {
        plan.windows(len).into_iter().map(|w| (w.tokens, w.first)).collect()
    }

    #[test]
    fn sliding_windows_are_those_of_the_recipe() {
        let plan = Plan::Sliding { tokens: 8, stride: 3 };
        assert_eq!(cut(plan, 8), [(0..8, 1)]);
        assert_eq!(cut(plan, 9), [(0..8, 1), (3..9, 8)]);
        assert_eq!(cut(plan, 14), [(0..8, 1), (3..11, 8), (6..14, 11)]);
        // As long as the window, a stride leaves the first token of each without a prediction, and a last window
        // of one token with nothing.
        assert_eq!(cut(Plan::Sliding { tokens: 4, stride: 4 }, 9), [(0..4, 1), (4..8, 5)]);
    }

    #[test]
    fn rolling_windows_have_disjoint_targets_and_the_last_reaches_back() {
        // A marker and ten tokens under a model that reads four: as the harness cuts them.
        assert_eq!(cut(Plan::Rolling(4), 11), [(0..5, 1), (4..9, 5), (6..11, 9)]);
        assert_eq!(cut(Plan::Rolling(4), 4), [(0..4, 1)]);
    }

    #[test]
    fn every_token_but_the_first_is_a_target_once() {
        for len in 0..40 {
            for plan in [
                Plan::Whole,
                Plan::Sliding { tokens: 7, stride: 6 },
                Plan::Sliding { tokens: 7, stride: 1 },
                Plan::Sliding { tokens: 2, stride: 1 },
                Plan::Rolling(1),
                Plan::Rolling(5),
            ] {
                let windows = plan.windows(len);
                let targets: Vec<usize> = windows.iter().flat_map(Window::targets).collect();
                assert_eq!(targets, (1..len).collect::<Vec<_>>(), "{plan:?} of {len}");
                for w in &windows {
                    assert!(
                        w.tokens.start < w.first && w.inputs() <= plan.longest(len),
                        "{plan:?} of {len}: {w:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn plans_that_cut_nothing_are_refused() {
        for plan in [
            Plan::Rolling(0),
            Plan::Sliding { tokens: 1, stride: 1 },
            Plan::Sliding { tokens: 4, stride: 0 },
            Plan::Sliding { tokens: 4, stride: 5 },
        ] {
            assert_eq!(plan.check().unwrap_err().code(), Code::InvalidArgument, "{plan:?}");
        }
        assert!(Plan::Sliding { tokens: 4, stride: 4 }.check().is_ok());
    }
}
