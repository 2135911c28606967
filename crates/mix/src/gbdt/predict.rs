//! Batch prediction without a branch: a block of rows goes down a tree together, a byte for each row.
//!
//! Leaves are numbered from left to right, and each row carries the number of the leftmost leaf under the node
//! where it is, 0 at the root. The nodes are taken parents first. A node with the leaves `at..` on its left and
//! `at + step..` on its right moves the rows that are there (they carry `at`) and whose bin is above its own
//! on by `step`; the others stay, which is a step to the left. Rows elsewhere carry another number, so nothing
//! else is asked of them. That is two comparisons and an addition of bytes per node and row, which the compiler
//! turns into vector instructions for 16 rows and more at a time.

use super::tree::Tree;

/// Rows per block: their bins, leaves and sums stay in the first-level cache while all trees pass.
pub(crate) const BLOCK: usize = 1024;

/// Below this many rows, walking each tree costs less than preparing it.
pub(crate) const FEW: usize = 48;

/// A tree as a list of moves, parents first.
pub(crate) struct Plan {
    moves: Vec<Move>,
    /// The values of the leaves from left to right.
    leaves: [f64; 64],
}

struct Move {
    feature: u16,
    bin: u8,
    at: u8,
    step: u8,
}

impl Plan {
    pub(crate) fn of(tree: &Tree) -> Self {
        let mut plan = Self { moves: Vec::with_capacity(tree.feature.len()), leaves: [0.0; 64] };
        let root = if tree.feature.is_empty() { !0 } else { 0 };
        plan.visit(tree, root, 0);
        plan
    }

    /// Adds what is under `child`, whose leftmost leaf has the number `first`; returns the number of leaves.
    fn visit(&mut self, tree: &Tree, child: i16, first: u8) -> u8 {
        if child < 0 {
            self.leaves[usize::from(first)] = tree.value[usize::from((!child) as u16)];
            return 1;
        }
        let (node, place) = (child as usize, self.moves.len());
        self.moves.push(Move { feature: tree.feature[node], bin: tree.bin[node], at: first, step: 0 });
        let left = self.visit(tree, tree.left[node], first);
        self.moves[place].step = left;
        left + self.visit(tree, tree.right[node], first + left)
    }

    /// The leaf of each row into `leaf`.
    fn descend(&self, columns: &[Vec<u8>], leaf: &mut [u8]) {
        leaf.fill(0);
        for m in &self.moves {
            let there = |condition: bool| u8::from(condition).wrapping_neg();
            for (leaf, &bin) in leaf.iter_mut().zip(&columns[usize::from(m.feature)]) {
                *leaf += there(bin > m.bin) & there(*leaf == m.at) & m.step;
            }
        }
    }
}

/// Adds what the trees give for a block of rows to `out`, tree by tree. `columns[f]` holds the bins of feature
/// `f`, one per row of `out`.
pub(crate) fn add_block(plans: &[Plan], columns: &[Vec<u8>], out: &mut [f64]) {
    let mut leaf = vec![0; out.len()];
    for plan in plans {
        plan.descend(columns, &mut leaf);
        for (sum, leaf) in out.iter_mut().zip(&leaf) {
            *sum += plan.leaves[usize::from(leaf & 63)];
        }
    }
}
