//! Corpora in and out: shards, formats, and the commit protocol that makes jobs resumable.
