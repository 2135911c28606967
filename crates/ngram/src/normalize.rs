//! Named, versioned ways to split text into words.
