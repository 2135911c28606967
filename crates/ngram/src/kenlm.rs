//! KenLM binary files, read.
