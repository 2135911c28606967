//! Adaptation of a general model to a small target sample.
