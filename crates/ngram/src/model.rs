//! Queryable models.
