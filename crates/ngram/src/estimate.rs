//! Interpolated modified Kneser-Ney estimation.
