// Whether the number of a column lies outside, or is not above the one before.
fn out_of_order(j: u32) -> bool {
  let column = index[p.index_at + j];
  if (column >= p.columns) { return true; }
  return j > 0u && index[p.index_at + j - 1u] >= column;
}
