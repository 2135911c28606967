// What an invocation has of a tile, handed to `store(row, column, sums)` of the including file, a row of four columns at a time.
fn store_tile(t: u32, row0: u32, column0: u32, r: Acc8) {
  let row = row0 + 8u * (t >> 4u);
  let column = column0 + 4u * (t & 15u);
  store(row, column, r.r0);
  store(row + 1u, column, r.r1);
  store(row + 2u, column, r.r2);
  store(row + 3u, column, r.r3);
  store(row + 4u, column, r.r4);
  store(row + 5u, column, r.r5);
  store(row + 6u, column, r.r6);
  store(row + 7u, column, r.r7);
}
