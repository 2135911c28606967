//! Hashed n-gram features and the importance weights built on them (DSIR).
