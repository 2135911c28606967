//! The facade of Gristmill: jobs, doctor, re-exports.
