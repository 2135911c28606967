//! Byte strings to ids, walked byte by byte.

use std::ops::Range;

/// No string ends at a node.
const NONE: u32 = u32::MAX;

/// A trie whose children lie together, ordered by label.
pub(super) struct Trie {
    /// Label of the edge into each node; the root is node 0.
    labels: Vec<u8>,
    nodes: Vec<Node>,
    /// Child of the root for each byte; 0 for none. Most of all steps end here.
    first: Box<[u32; 256]>,
}

#[derive(Clone, Copy)]
struct Node {
    children: u32,
    count: u16,
    value: u32,
}

impl Trie {
    /// `None` when a string occurs twice.
    pub(super) fn new(mut strings: Vec<(&[u8], u32)>) -> Option<Self> {
        strings.sort_unstable();
        if strings.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        let mut trie = Self {
            labels: vec![0],
            nodes: vec![Node { children: 0, count: 0, value: NONE }],
            first: Box::new([0; 256]),
        };
        // Breadth first: the strings under each node, and how long their common part is.
        let mut under: Vec<(Range<usize>, usize)> = vec![(0..strings.len(), 0)];
        let mut at = 0;
        while at < under.len() {
            let (mut range, depth) = under[at].clone();
            if let Some((_, id)) =
                strings.get(range.start).filter(|(s, _)| !range.is_empty() && s.len() == depth)
            {
                trie.nodes[at].value = *id;
                range.start += 1;
            }
            trie.nodes[at].children = trie.nodes.len() as u32;
            while !range.is_empty() {
                let label = strings[range.start].0[depth];
                let same = strings[range.clone()].partition_point(|(s, _)| s[depth] <= label);
                under.push((range.start..range.start + same, depth + 1));
                trie.labels.push(label);
                trie.nodes.push(Node { children: 0, count: 0, value: NONE });
                trie.nodes[at].count += 1;
                range.start += same;
            }
            at += 1;
        }
        let root = trie.nodes[0];
        for child in root.children..root.children + u32::from(root.count) {
            trie.first[usize::from(trie.labels[child as usize])] = child;
        }
        Some(trie)
    }

    /// Calls `f` with the length and id of every string that `text` begins with, shortest first.
    #[inline]
    pub(super) fn prefixes(&self, text: &[u8], mut f: impl FnMut(usize, u32)) {
        let Some((first, rest)) = text.split_first() else { return };
        let mut node = self.first[usize::from(*first)];
        if node == 0 {
            return;
        }
        for (length, next) in (1..).zip(rest.iter().map(Some).chain([None])) {
            let Node { children, count, value } = self.nodes[node as usize];
            if value != NONE {
                f(length, value);
            }
            let Some(next) = next else { return };
            let range = children as usize..children as usize + usize::from(count);
            let Some(at) = self.labels[range].iter().position(|label| label >= next) else { return };
            node = children + at as u32;
            if self.labels[node as usize] != *next {
                return;
            }
        }
    }

    /// The id of a string.
    pub(super) fn get(&self, text: &[u8]) -> Option<u32> {
        let mut found = None;
        self.prefixes(text, |length, id| {
            if length == text.len() {
                found = Some(id);
            }
        });
        found
    }

    /// The length of the longest string that `text` begins with.
    pub(super) fn longest(&self, text: &[u8]) -> Option<usize> {
        let mut longest = None;
        self.prefixes(text, |length, _| longest = Some(length));
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_all_prefixes(
            strings in prop::collection::btree_set("[abc\u{e9}]{1,5}", 0..40),
            text in "[abc\u{e9}]{0,8}",
        ) {
            let strings: Vec<&[u8]> = strings.iter().map(|s| s.as_bytes()).collect();
            let trie = Trie::new(strings.iter().copied().zip(7..).collect()).unwrap();
            let mut found = Vec::new();
            trie.prefixes(text.as_bytes(), |length, id| found.push((length, strings[id as usize - 7])));
            let mut expected: Vec<_> =
                strings.iter().filter(|s| text.as_bytes().starts_with(s)).map(|s| (s.len(), *s)).collect();
            expected.sort();
            prop_assert_eq!(found, expected);
            for string in &strings {
                prop_assert_eq!(trie.get(string).map(|id| strings[id as usize - 7]), Some(*string));
            }
        }
    }

    #[test]
    fn refuses_a_string_that_occurs_twice() {
        assert!(Trie::new(vec![(b"a", 0), (b"b", 1), (b"a", 2)]).is_none());
        assert_eq!(Trie::new(Vec::new()).unwrap().longest(b"a"), None);
    }
}
