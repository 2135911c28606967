//! `unicode-words/1`.
//!
//! White space and control characters separate and vanish; what lies between is cut at the default word
//! boundaries of UAX #29 and lower-cased. Neighbours that hold no letter or digit (punctuation, symbols) are
//! one word together: `);` or `."` says more about a kind of text than its parts do, and on our labelled
//! texts that is worth about one point of precision at order 1.
//!
//! Cutting first at white space changes nothing about where words
//! end (no rule of UAX #29 joins across it), and makes every run of ASCII a problem of its own, solved here
//! by a table of 128 classes at a large multiple of the general algorithm's speed. The tests hold the two
//! to each other.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use unicode_segmentation::UnicodeSegmentation;

pub(super) fn for_each(text: &str, scratch: &mut String, mut f: impl FnMut(&str)) {
    let composed: String;
    let text = if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        text
    } else {
        composed = text.nfc().collect();
        &composed
    };
    let mut rest = text;
    while !rest.is_empty() {
        // ASCII up to the last separator before the next other character, then the field that has it.
        let foreign = rest.bytes().position(|b| b >= 0x80).unwrap_or(rest.len());
        let ascii_end = if foreign == rest.len() {
            foreign
        } else {
            rest.as_bytes()[..foreign].iter().rposition(|b| is_separator(*b)).map_or(0, |at| at + 1)
        };
        let (ascii, tail) = rest.split_at(ascii_end);
        if !ascii.is_empty() {
            scratch.clear();
            scratch.push_str(ascii);
            scratch.make_ascii_lowercase();
            ascii_words(scratch, &mut f);
        }
        let field_end = tail.bytes().position(is_separator).unwrap_or(tail.len());
        let (field, after) = tail.split_at(field_end);
        general(field, scratch, &mut f);
        rest = after;
    }
}

/// White space or control, among the ASCII characters.
fn is_separator(b: u8) -> bool {
    b <= b' ' || b == 0x7f
}

/// Any text, by the library.
fn general(text: &str, scratch: &mut String, f: &mut impl FnMut(&str)) {
    for field in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        let mut marks = 0..0;
        for (at, segment) in field.split_word_bound_indices() {
            let end = at + segment.len();
            if !segment.contains(char::is_alphanumeric) {
                marks.end = end;
                continue;
            }
            if !marks.is_empty() {
                f(&field[marks]);
            }
            marks = end..end;
            if segment.bytes().any(|b| b.is_ascii_uppercase() || b >= 0x80) {
                scratch.clear();
                lower_into(segment, scratch);
                f(scratch);
            } else {
                f(segment);
            }
        }
        if !marks.is_empty() {
            f(&field[marks]);
        }
    }
}

/// Lower case, where the form of a sigma depends on its place within the word.
fn lower_into(word: &str, out: &mut String) {
    if word.contains('Σ') {
        out.push_str(&word.to_lowercase());
    } else {
        out.extend(word.chars().flat_map(char::to_lowercase));
    }
}

const OTHER: u8 = 0;
const LETTER: u8 = 1;
const DIGIT: u8 = 2;
const UNDERSCORE: u8 = 3;
const SEPARATOR: u8 = 4;

/// The class of every byte; those past ASCII are never looked up.
const CLASS: [u8; 256] = {
    let mut class = [OTHER; 256];
    let mut b = 0;
    while b < 128 {
        class[b] = match b as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => LETTER,
            b'0'..=b'9' => DIGIT,
            b'_' => UNDERSCORE,
            0..=b' ' | 0x7f => SEPARATOR,
            _ => OTHER,
        };
        b += 1;
    }
    class
};

/// UAX #29 on lower-cased ASCII: letters, digits and underscores join (WB5, 8, 9, 10, 13a, 13b); so do
/// letters around one of `' . :` (WB6, 7) and digits around one of `' . , ;` (WB11, 12); every other
/// character is a segment of its own (WB999), and those without letter or digit make up a run.
#[inline]
fn ascii_words(text: &str, f: &mut impl FnMut(&str)) {
    let bytes = text.as_bytes();
    let class = |at: usize| bytes.get(at).map_or(SEPARATOR, |b| CLASS[*b as usize]);
    // `bytes[marks..at]` is the run of marks so far.
    let mut marks = 0;
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let mut last = class(at);
        at += 1;
        match last {
            OTHER => continue,
            SEPARATOR => {
                if marks < start {
                    f(&text[marks..start]);
                }
                marks = at;
                continue;
            }
            _ => {}
        }
        let mut word = last != UNDERSCORE;
        loop {
            let next = class(at);
            if next.wrapping_sub(1) < UNDERSCORE {
                word |= next != UNDERSCORE;
                last = next;
                at += 1;
            } else if next == OTHER
                && class(at + 1) == last
                && match last {
                    LETTER => matches!(bytes[at], b'\'' | b'.' | b':'),
                    DIGIT => matches!(bytes[at], b'\'' | b'.' | b',' | b';'),
                    _ => false,
                }
            {
                at += 2;
            } else {
                break;
            }
        }
        if word {
            if marks < start {
                f(&text[marks..start]);
            }
            f(&text[start..at]);
            marks = at;
        }
    }
    if marks < bytes.len() {
        f(&text[marks..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fast(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        for_each(text, &mut String::new(), |w| out.push(w.to_owned()));
        out
    }

    fn slow(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        general(&text.nfc().collect::<String>(), &mut String::new(), &mut |w: &str| out.push(w.to_owned()));
        out
    }

    #[test]
    fn words_of_several_scripts() {
        assert_eq!(fast("Ὀδυσσεύς ΟΔΟΣ"), ["ὀδυσσεύς", "οδος"]);
        assert_eq!(fast("naïve co-op\u{ad}s"), ["naïve", "co", "-", "op\u{ad}s"]);
        assert_eq!(fast("e\u{301}t\u{e9}"), ["été"]);
        assert_eq!(fast("ab\u{202f}c\u{0}d"), ["ab", "c", "d"]);
        assert_eq!(fast("漢字 カタカナ"), ["漢", "字", "カタカナ"]);
        assert_eq!(fast(" \t\r\n"), Vec::<String>::new());
        assert_eq!(
            fast("a.b 1,2.3 a.1 e.g. x_1 '' 's"),
            ["a.b", "1,2.3", "a", ".", "1", "e.g", ".", "x_1", "''", "'", "s"]
        );
        assert_eq!(
            fast("f(x_, __y)); -- _ (_) “¡Sí!”…"),
            ["f", "(", "x_", ",", "__y", "));", "--", "_", "(_)", "“¡", "sí", "!”…"]
        );
    }

    /// Pieces that make the rules of UAX #29 interact.
    fn awkward() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => "[a-zA-Z]{1,2}".boxed(),
            3 => "[0-9]{1,2}".boxed(),
            5 => "[ '.,;:_\"\\-\t\n\r\u{0}\u{7f}]".boxed(),
            3 => "[\u{301}\u{ad}\u{200d}\u{feff}\u{a0}\u{3000}\u{202f}é漢カΣא’“\u{1F600}\u{1F1E9}\u{85}]".boxed(),
            1 => "\\PC".boxed(),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn ascii_agrees_with_the_general_rules(text in "[ -~\t\n\r\u{0}\u{7f}]{0,40}") {
            prop_assert_eq!(fast(&text), slow(&text));
        }

        #[test]
        fn mixed_text_agrees_with_the_general_rules(text in awkward()) {
            prop_assert_eq!(fast(&text), slow(&text));
        }

        #[test]
        fn no_word_is_empty_or_holds_white_space(text in awkward()) {
            for word in fast(&text) {
                prop_assert!(!word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c.is_control()));
            }
        }
    }
}
