//! The ARPA text format, in and out.
