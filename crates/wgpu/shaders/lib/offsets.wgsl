// Offsets that do not ascend from one segment to the next, or lead beyond p.rows, are a fault, which has a number of its own.
fn check_segment(segment: u32, fault: u32) {
  let begin = offsets[p.offsets_at + segment];
  let end = offsets[p.offsets_at + segment + 1u];
  // Negative ones are beyond any number of rows.
  if (begin > end || end > p.rows) { atomicMax(&faults[p.slot], ~fault); }
}
