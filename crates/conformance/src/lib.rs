//! The table of cases that every backend must pass, and its runner.
