//! Growing one tree leaf by leaf: always the leaf whose best split gains most, as LightGBM does.

use super::GbdtOptions;
use super::bins::Bins;
use super::tree::Tree;

/// Sum of residuals and number of rows of one bin.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    sum: f64,
    rows: u32,
}

#[derive(Debug, Clone, Copy)]
struct Split {
    gain: f64,
    feature: usize,
    bin: u8,
    left_sum: f64,
    left_rows: usize,
}

struct Node {
    /// Its rows are `order[start..end]`.
    start: usize,
    end: usize,
    sum: f64,
    best: Option<Split>,
    histogram: Option<Vec<Cell>>,
    /// The node and side that point here; none for the root.
    parent: Option<(usize, bool)>,
}

/// What growing needs besides the residuals, and keeps from tree to tree.
pub(crate) struct Grower<'a> {
    options: &'a GbdtOptions,
    features: usize,
    /// The bins of each row, row by row.
    bins: &'a [u8],
    /// The same bins as places in a histogram.
    cells: Vec<u32>,
    /// Where each feature begins in a histogram; one more than there are features.
    offset: Vec<u32>,
    order: Vec<u32>,
    scratch: Vec<u32>,
    /// `1 / (n + l2)` for each number of rows: a look-up is cheaper than two divisions per bin.
    inverse: Vec<f64>,
    free: Vec<Vec<Cell>>,
}

impl<'a> Grower<'a> {
    pub(crate) fn new(edges: &Bins, bins: &'a [u8], options: &'a GbdtOptions) -> Self {
        let features = edges.edges.len();
        let rows = bins.len() / features;
        let mut offset = vec![0u32];
        for e in &edges.edges {
            offset.push(offset[offset.len() - 1] + e.len() as u32 + 1);
        }
        let cells = bins
            .chunks_exact(features)
            .flat_map(|row| row.iter().zip(&offset).map(|(&b, o)| o + u32::from(b)));
        Self {
            options,
            features,
            bins,
            cells: cells.collect(),
            order: vec![0; rows],
            scratch: vec![0; rows],
            inverse: (0..=rows).map(|n| 1.0 / (n as f64 + options.l2)).collect(),
            free: Vec::new(),
            offset,
        }
    }

    /// Grows a tree on the residuals of all rows, and adds its leaves, scaled by the learning rate, to
    /// `prediction`.
    pub(crate) fn grow(&mut self, residual: &[f64], prediction: &mut [f64]) -> Tree {
        for (i, slot) in self.order.iter_mut().enumerate() {
            *slot = i as u32;
        }
        let mut tree = Tree { feature: vec![], bin: vec![], left: vec![], right: vec![], value: vec![] };
        let mut root = Node {
            start: 0,
            end: residual.len(),
            sum: residual.iter().sum(),
            best: None,
            histogram: None,
            parent: None,
        };
        if self.splittable(&root) {
            root.histogram = Some(self.histogram(&root, residual));
            self.find_split(&mut root);
        }
        let mut leaves = vec![root];
        while leaves.len() < self.options.leaves {
            // Ties go to the leaf made first.
            let best = (0..leaves.len()).filter(|&i| leaves[i].best.is_some()).max_by(|&a, &b| {
                let gain = |i: usize| leaves[i].best.map_or(0.0, |s| s.gain);
                gain(a).total_cmp(&gain(b)).then(b.cmp(&a))
            });
            let Some(at) = best else { break };
            let Some(split) = leaves[at].best else { break };
            let last = leaves.len() + 1 == self.options.leaves;
            let (left, right) = self.split(&mut leaves[at], split, residual, &mut tree, last);
            leaves[at] = left;
            leaves.push(right);
        }
        for leaf in leaves {
            let value = leaf.sum * self.inverse[leaf.end - leaf.start] * self.options.learning_rate;
            if let Some((node, is_left)) = leaf.parent {
                let child = !(tree.value.len() as i16);
                *(if is_left { &mut tree.left[node] } else { &mut tree.right[node] }) = child;
            }
            tree.value.push(value);
            self.order[leaf.start..leaf.end].iter().for_each(|&row| prediction[row as usize] += value);
            self.free.extend(leaf.histogram);
        }
        tree
    }

    fn splittable(&self, node: &Node) -> bool {
        node.end - node.start >= 2 * self.options.min_rows_per_leaf
    }

    fn split(
        &mut self,
        node: &mut Node,
        split: Split,
        residual: &[f64],
        tree: &mut Tree,
        last: bool,
    ) -> (Node, Node) {
        let id = tree.feature.len();
        tree.feature.push(split.feature as u16);
        tree.bin.push(split.bin);
        tree.left.push(0);
        tree.right.push(0);
        if let Some((parent, is_left)) = node.parent {
            *(if is_left { &mut tree.left[parent] } else { &mut tree.right[parent] }) = id as i16;
        }
        self.partition(node, split);
        let middle = node.start + split.left_rows;
        let child = |start, end, sum, is_left| Node {
            start,
            end,
            sum,
            best: None,
            histogram: None,
            parent: Some((id, is_left)),
        };
        let mut left = child(node.start, middle, split.left_sum, true);
        let mut right = child(middle, node.end, node.sum - split.left_sum, false);
        let parent = node.histogram.take();
        let (small, large) = if split.left_rows * 2 <= node.end - node.start {
            (&mut left, &mut right)
        } else {
            (&mut right, &mut left)
        };
        match parent {
            Some(mut whole) if !last && self.splittable(large) => {
                let part = self.histogram(small, residual);
                for (w, p) in whole.iter_mut().zip(&part) {
                    w.sum -= p.sum;
                    w.rows -= p.rows;
                }
                large.histogram = Some(whole);
                self.find_split(large);
                small.histogram = Some(part);
                if self.splittable(small) {
                    self.find_split(small);
                }
            }
            unused => self.free.extend(unused),
        }
        (left, right)
    }

    /// Puts the rows that go left before those that go right, each side in its old order.
    fn partition(&mut self, node: &Node, split: Split) {
        let (mut left, mut right) = (node.start, 0);
        for i in node.start..node.end {
            let row = self.order[i];
            let goes_left = self.bins[row as usize * self.features + split.feature] <= split.bin;
            self.order[left] = row;
            self.scratch[right] = row;
            left += usize::from(goes_left);
            right += usize::from(!goes_left);
        }
        self.order[left..node.end].copy_from_slice(&self.scratch[..right]);
    }

    fn histogram(&mut self, node: &Node, residual: &[f64]) -> Vec<Cell> {
        let size = self.offset[self.features] as usize;
        let mut cells = self.free.pop().unwrap_or_default();
        cells.clear();
        cells.resize(size, Cell::default());
        for &row in &self.order[node.start..node.end] {
            let r = residual[row as usize];
            for &at in &self.cells[row as usize * self.features..][..self.features] {
                let cell = &mut cells[at as usize];
                cell.sum += r;
                cell.rows += 1;
            }
        }
        cells
    }

    /// The split with the largest gain; ties go to the lowest feature and then to the lowest bin. Between two
    /// bins that rows of this node are in, the cut is put in the middle of the empty ones.
    fn find_split(&self, node: &mut Node) {
        let Some(histogram) = &node.histogram else { return };
        let rows = node.end - node.start;
        let min = self.options.min_rows_per_leaf;
        let whole = node.sum * node.sum * self.inverse[rows];
        let mut best: Option<Split> = None;
        let mut best_gain = whole + self.options.min_gain.max(1e-12 * whole.abs());
        for feature in 0..self.features {
            let cells = &histogram[self.offset[feature] as usize..self.offset[feature + 1] as usize];
            let (mut sum, mut n) = (0.0, 0usize);
            for (bin, cell) in cells.iter().enumerate() {
                if cell.rows == 0 {
                    continue;
                }
                sum += cell.sum;
                n += cell.rows as usize;
                if n < min {
                    continue;
                }
                if rows - n < min {
                    break;
                }
                let rest = node.sum - sum;
                let gain = sum * sum * self.inverse[n] + rest * rest * self.inverse[rows - n];
                if gain > best_gain {
                    best_gain = gain;
                    best = Some(Split {
                        gain: gain - whole,
                        feature,
                        bin: bin as u8,
                        left_sum: sum,
                        left_rows: n,
                    });
                }
            }
        }
        if let Some(split) = &mut best {
            let cells = &histogram[self.offset[split.feature] as usize..];
            let low = usize::from(split.bin);
            let next = (low + 1..).find(|&b| cells[b].rows > 0).unwrap_or(low + 1);
            split.bin = ((low + next - 1) / 2) as u8;
        }
        node.best = best;
    }
}
