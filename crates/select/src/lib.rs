//! Exact selection to a budget, out of core: which documents of a pool are kept, given their scores.
//!
//! # What it promises
//!
//! The documents are put into one order: by score (or by score with noise), equal scores by a hash of seed
//! and id, equal ids by shard and row. The selection is a prefix of that order, exactly as long as the
//! budget says: the shortest one that reaches it, or the longest one that does not exceed it
//! ([`Crossing`]). So it depends on the documents, their scores and the seed, and on nothing else: not on
//! the order in which shards are read, not on how documents are spread over shards, not on threads,
//! workers or interruptions. (Where two documents carry one id and one score, the first shard and row
//! wins; only then does the layout matter.)
//!
//! Documents without text ([`Reason::EmptyText`]) and those whose score is NaN ([`Reason::NotANumber`]) are
//! never selected; they are counted as part of the pool and reported under their own reasons. Who wants
//! them gives them a number first. Infinities are numbers, and the two zeros are equal.
//!
//! # How
//!
//! Nothing is sorted and nothing is held: every score becomes an integer of the same order, and a pass
//! over the pool adds each document's weight to one of 65,536 buckets by the leading 16 bits. The bucket
//! in which the budget is reached is known then, and the next pass looks at the following 16 bits of the
//! documents in it alone; the bits of the tie hash, shard and row follow those of the score. The search
//! ends as soon as one document is left in the bucket, after two or three passes over a column of floats.
//! The histograms are exact integers, so they merge in any order and workers can meet in a [`PassState`].
//!
//! ```
//! use gristmill_core::Counts;
//! use gristmill_select::{Criteria, Item, Selector, Tally, id_hash};
//!
//! // Two shards of a pool, read by two workers.
//! let shards = [vec![("a", 0.1, 40), ("b", 0.7, 30)], vec![("c", 0.4, 50), ("d", 0.9, 20)]];
//! let items = |shard: usize| {
//!     shards[shard].iter().enumerate().map(move |(row, &(id, score, tokens))| Item {
//!         score,
//!         id_hash: id_hash(id),
//!         shard: shard as u32,
//!         row: row as u64,
//!         counts: Counts::one(tokens, 4 * tokens),
//!         group: None,
//!     })
//! };
//!
//! let criteria = Criteria { budget: Some("60 tokens".parse()?), ..Criteria::default() };
//! let mut selector = Selector::new(criteria)?;
//! while let Some(mut one) = selector.next_pass() {
//!     let mut two = one.clone();
//!     items(1).try_for_each(|item| two.add(&item))?;
//!     items(0).try_for_each(|item| one.add(&item))?;
//!     one.merge(&two)?;
//!     selector.advance(one)?;
//! }
//! let cut = selector.finish()?;
//!
//! let mut tally = Tally::default();
//! for item in (0..2).flat_map(items) {
//!     tally.read += item.counts;
//!     tally.scored += item.counts;
//!     tally.settle(cut.verdict(&item), item.counts);
//! }
//! cut.check(&tally)?;
//! // d, b and c: c is the document that crosses the line.
//! assert_eq!(tally.kept, Some(gristmill_core::Counts { documents: 3, tokens: 100, bytes: 400 }));
//! # Ok::<(), gristmill_core::Error>(())
//! ```
//!
//! # Sampling
//!
//! With a temperature τ the order is that of `score/τ + g`, where `g` is Gumbel noise drawn from a hash of
//! seed and id. The first k of that order are a sample without replacement in which the next document is
//! always drawn in proportion to `exp(score/τ)`; equal scores give a uniform sample. As the noise belongs to
//! the document, sampling keeps all of the promises above.
//!
//! # Duplicate ids
//!
//! [`DuplicateFinder`] finds ids that occur more than once in memory that is set beforehand, by ranges of
//! their hashes.

mod budget;
mod criteria;
mod cut;
mod decimal;
mod duplicates;
mod histogram;
mod item;
mod pass;
mod selector;
mod tally;

pub use budget::{Amount, Budget, Measure};
pub use criteria::{Criteria, Crossing, Quotas};
pub use cut::{Cut, GroupReport};
pub use decimal::Decimal;
pub use duplicates::{DuplicateFinder, DuplicatePass, FirstPlaces, RepeatedHashes};
pub use gristmill_core::Counts;
pub use item::{Item, id_hash};
pub use pass::{Pass, PassState};
pub use selector::Selector;
pub use tally::{Reason, Tally, Verdict};
