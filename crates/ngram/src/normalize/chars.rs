//! Sets of characters by their Unicode properties, as bit maps that answer in one load.

use std::sync::OnceLock;

use regex_syntax::hir::{Class, HirKind};

/// One bit for each code point.
pub(super) struct CharSet(Box<[u64]>);

impl CharSet {
    /// The set that a regular expression's bracket names, such as `[\p{L}_]`.
    fn of(class: &'static str) -> Self {
        let hir = regex_syntax::parse(class).expect("a constant that a test parses");
        let mut bits = vec![0u64; 0x11_0000 / 64].into_boxed_slice();
        if let HirKind::Class(Class::Unicode(class)) = hir.kind() {
            for range in class.ranges() {
                for c in u32::from(range.start())..=u32::from(range.end()) {
                    bits[c as usize / 64] |= 1 << (c % 64);
                }
            }
        }
        Self(bits)
    }

    #[inline]
    pub(super) fn contains(&self, c: char) -> bool {
        let c = u32::from(c) as usize;
        self.0[c / 64] >> (c % 64) & 1 == 1
    }
}

macro_rules! sets {
    ($($(#[$doc:meta])* $name:ident = $class:literal;)*) => {$(
        $(#[$doc])*
        pub(super) fn $name() -> &'static CharSet {
            static SET: OnceLock<CharSet> = OnceLock::new();
            SET.get_or_init(|| CharSet::of($class))
        }
    )*};
}

sets! {
    /// Python's `\w`: `str.isalnum()` or the underscore. Marks are not in it, unlike in UTS #18.
    python_word = r"[\p{L}\p{N}_]";
    /// Python's `\s` and `str.isspace()`: White_Space and the four information separators.
    python_space = r"[\p{White_Space}\x1c-\x1f]";
    /// Python's `\d`.
    decimal_digit = r"\p{Nd}";
    /// What `unicodedata.category` calls `Mn`.
    nonspacing_mark = r"\p{Mn}";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_python_says() {
        assert!(['a', 'Z', '0', '_', 'é', '漢', '²', 'Ⅷ', '١'].iter().all(|c| python_word().contains(*c)));
        assert!(
            !['-', ' ', '\u{301}', '\u{93f}', '$', '\u{200d}'].iter().any(|c| python_word().contains(*c))
        );
        assert!([' ', '\u{1c}', '\u{a0}', '\u{3000}', '\u{85}'].iter().all(|c| python_space().contains(*c)));
        assert!(!['\u{200b}', '\u{feff}', '_'].iter().any(|c| python_space().contains(*c)));
        assert!(decimal_digit().contains('٣') && !decimal_digit().contains('²'));
        assert!(nonspacing_mark().contains('\u{301}') && !nonspacing_mark().contains('\u{903}'));
    }
}
