//! `wordpunct/1`: Python's `re.findall(r"\w+|[^\w\s]+", text.lower())`.

use super::chars::{CharSet, python_space, python_word};

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Word,
    Space,
    Mark,
}

pub(super) fn for_each(text: &str, scratch: &mut String, f: impl FnMut(&str)) {
    if text.is_ascii() {
        scratch.clear();
        scratch.push_str(text);
        scratch.make_ascii_lowercase();
    } else {
        // Over the whole text: whether a sigma is final depends on what surrounds it, as in Python.
        *scratch = text.to_lowercase();
    }
    runs(scratch, f);
}

fn runs(text: &str, mut f: impl FnMut(&str)) {
    const ASCII: [Class; 128] = {
        let mut class = [Class::Mark; 128];
        let mut b = 0;
        while b < 128 {
            let byte = b as u8;
            if byte.is_ascii_alphanumeric() || byte == b'_' {
                class[b] = Class::Word;
            } else if matches!(byte, 9..=13 | 0x1c..=0x20) {
                class[b] = Class::Space;
            }
            b += 1;
        }
        class
    };
    let (word, space): (&CharSet, &CharSet) = (python_word(), python_space());
    let bytes = text.as_bytes();
    let class_and_len = |at: usize| match bytes[at] {
        b @ ..0x80 => (ASCII[b as usize], 1),
        _ => {
            let c = text[at..].chars().next().expect("`at` is a boundary before the end");
            let class = match () {
                () if word.contains(c) => Class::Word,
                () if space.contains(c) => Class::Space,
                () => Class::Mark,
            };
            (class, c.len_utf8())
        }
    };
    let at = |at: usize| (at < bytes.len()).then(|| class_and_len(at));
    let (mut start, mut first) = (0, at(0));
    while let Some((class, len)) = first {
        let mut end = start + len;
        first = loop {
            // Mostly there is nothing but ASCII.
            while bytes.get(end).is_some_and(|&b| b < 0x80 && ASCII[b as usize] == class) {
                end += 1;
            }
            match at(end) {
                Some((next, len)) if next == class => end += len,
                other => break other,
            }
        };
        if class != Class::Space {
            f(&text[start..end]);
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        for_each(text, &mut String::new(), |w| out.push(w.to_owned()));
        out
    }

    /// Expected values printed by CPython 3.11 with the expression at the head of this file.
    #[test]
    fn agrees_with_python() {
        assert_eq!(words("Don't stop... x_1—y"), ["don", "'", "t", "stop", "...", "x_1", "—", "y"]);
        assert_eq!(words("ΟΔΟΣ ½ ²"), ["οδος", "½", "²"]);
        assert_eq!(words("हिन्दी"), ["ह", "ि", "न", "्", "द", "ी"]);
        assert_eq!(words("a\u{1c}b\u{a0}c\u{200b}d"), ["a", "b", "c", "\u{200b}", "d"]);
        assert_eq!(words("İ"), ["i", "\u{307}"]);
        assert_eq!(words("\u{85}\u{feff}$€"), ["\u{feff}$€"]);
    }
}
