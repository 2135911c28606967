/// One regression tree over binned features.
///
/// Node 0 is the root. A row goes left when its bin is at most the node's. A child is a node when it is not
/// negative and leaf `!child` when it is.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Tree {
    pub(crate) feature: Vec<u16>,
    pub(crate) bin: Vec<u8>,
    pub(crate) left: Vec<i16>,
    pub(crate) right: Vec<i16>,
    pub(crate) value: Vec<f64>,
}

/// The most leaves of a tree: batch prediction numbers them in a byte and keeps their values in the cache.
pub(crate) const MAX_LEAVES: usize = 64;

impl Tree {
    /// What the tree gives for one row of bins.
    pub(crate) fn walk(&self, bins: &[u8]) -> f64 {
        if self.feature.is_empty() {
            return self.value[0];
        }
        let mut at = 0usize;
        loop {
            let below = bins[usize::from(self.feature[at])] <= self.bin[at];
            let next = if below { self.left[at] } else { self.right[at] };
            if next < 0 {
                return self.value[usize::from((!next) as u16)];
            }
            at = next as usize;
        }
    }

    /// Why this is no tree over `features` features, for one that was read from a file.
    pub(crate) fn fault(&self, features: usize) -> Option<&'static str> {
        let nodes = self.feature.len();
        if [self.bin.len(), self.left.len(), self.right.len()] != [nodes; 3] {
            return Some("its columns differ in length");
        }
        if self.value.len() != nodes + 1 || self.value.len() > MAX_LEAVES {
            return Some("its number of leaves is wrong");
        }
        if self.feature.iter().any(|&f| usize::from(f) >= features) {
            return Some("it asks for a feature that is not there");
        }
        if self.value.iter().any(|v| !v.is_finite()) {
            return Some("a leaf is not finite");
        }
        // Every node but the root and every leaf is the child of exactly one node that comes before it: so
        // there is no cycle, and all of them are reached.
        let mut seen = vec![false; 2 * nodes + 1];
        for at in 0..nodes {
            for child in [self.left[at], self.right[at]] {
                let slot = match child {
                    leaf if leaf < 0 => nodes + usize::from((!leaf) as u16),
                    node => node as usize,
                };
                if slot >= seen.len() || slot <= at || std::mem::replace(&mut seen[slot], true) {
                    return Some("its nodes form no tree");
                }
            }
        }
        None
    }
}
