//! `ccnet/1`: the text normalisation that CCNet's published models were trained behind, in its order:
//! trim, lower case, strip accents (NFD without nonspacing marks), digits to 0, its map of Unicode
//! punctuation, control characters deleted. Line ends are control characters, so the words around one
//! run together: that is what the models have seen.

use unicode_normalization::UnicodeNormalization;

use super::chars::{decimal_digit, nonspacing_mark, python_space};

/// The normalised text, in `scratch`.
pub(super) fn normalize<'a>(text: &str, scratch: &'a mut String) -> &'a str {
    let text = text.trim_matches(|c| python_space().contains(c));
    scratch.clear();
    if text.is_ascii() {
        let kept = text.bytes().filter(|b| !is_control(char::from(*b)));
        scratch
            .extend(kept.map(|b| char::from(if b.is_ascii_digit() { b'0' } else { b.to_ascii_lowercase() })));
        return scratch;
    }
    let (digit, mark) = (decimal_digit(), nonspacing_mark());
    for c in text.to_lowercase().nfd().filter(|c| !mark.contains(*c)) {
        if digit.contains(c) {
            scratch.push('0');
        } else if let Some(mapped) = punctuation(c) {
            scratch.push_str(mapped);
        } else if !is_control(c) {
            scratch.push(c);
        }
    }
    scratch
}

fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\x1f' | '\x7f'..='\u{9f}')
}

/// CCNet's map. (It also sends a full-width digit one to a quotation mark, but digits are 0 by then.)
fn punctuation(c: char) -> Option<&'static str> {
    Some(match c {
        '，' | '、' => ",",
        '。' => ".",
        '．' => ". ",
        '„' | '”' | '“' | '«' | '»' | '」' | '「' | '《' | '》' => "\"",
        '´' | '’' => "'",
        '∶' | '：' => ":",
        '？' => "?",
        '！' => "!",
        '（' => "(",
        '）' => ")",
        '；' => ";",
        '–' | '━' | '►' => "-",
        '—' => " - ",
        '～' => "~",
        '…' => "...",
        '〈' => "<",
        '〉' => ">",
        '【' => "[",
        '】' => "]",
        '％' => "%",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ccnet(text: &str) -> String {
        normalize(text, &mut String::new()).to_owned()
    }

    #[test]
    fn follows_the_published_order_of_steps() {
        assert_eq!(ccnet("  Ça coûte 1 250 €\nÀ PARIS…"), "ca coute 0 000 €a paris...");
        assert_eq!(ccnet("“x”—‘y’ １２％"), "\"x\" - ‘y' 00%");
        assert_eq!(ccnet("a\u{85}b\tc\u{7f}"), "abc");
        assert_eq!(ccnet("İ Å ﬁ"), "i a ﬁ");
        assert_eq!(ccnet("\u{1c} \n"), "");
    }

    proptest! {
        #[test]
        fn ascii_path_agrees(text in "[ -~\t\n]{0,40}") {
            // One accented letter sends the same text down the general path.
            prop_assert_eq!(ccnet(&format!("x{text}x")) + "e", ccnet(&format!("x{text}xé")));
        }
    }
}
