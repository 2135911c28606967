//! Exact selection to a budget, out of core.
