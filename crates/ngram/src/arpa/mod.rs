//! The ARPA text format, in and out.
//!
//! ```text
//! \data\
//! ngram 1=4
//! ngram 2=3
//!
//! \1-grams:
//! -0.9  <unk>  0
//! 0  <s>  -0.3
//! -0.6  </s>  0
//! -0.4  mill  -0.1
//!
//! \2-grams:
//! -0.2  <s> mill
//! -0.3  mill </s>
//! -0.5  mill mill
//!
//! \end\
//! ```
//!
//! Fields are separated by tabs, words by spaces. Probabilities and backoffs are log10. Reading is as strict as KenLM's: lines before `\data\` are empty or
//! start with `#`, sections come in order, each with the number of n-grams announced, every word is a
//! unigram, no probability is above one, and the highest order has no backoffs but zero. `<UNK>` is read as
//! `<unk>`. Errors carry the row (from 0) and name the line (from 1).

mod read;
mod write;

pub(crate) use read::read_source;
pub use read::{load, parse};
pub use write::{save, write};
