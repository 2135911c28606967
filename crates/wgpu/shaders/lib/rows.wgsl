// Rows reduced to a state each, then to results. A row is cut into p.segs segments of p.seg elements, so that few long
// rows keep the whole device busy; a unit is a segment of a row, and units are numbered in the order of memory.
// ${STAGE} says what a dispatch does:
//   whole    a row is one unit: its elements become its results;
//   partial  each unit leaves its state in `states`;
//   merge    the states of each row become its results.
// ${THREADS} invocations share a unit, and a workgroup takes as many as it has invocations for. The including file has
// `stream`, `merge`, `finish(row, state)` (row counts from the first of the dispatch) and `extra(row, begin, segment,
// state)`, the state of a unit with what is known by its first invocation alone.
#include reduce
#include main

fn work(group: u32, t: u32, subgroup: u32) {
  let unit = group * (256u / threads) + t / threads;
  let valid = unit < p.units;
  let lane = t % threads;
#if STAGE=merge
  var state = no_state;
  if (valid) {
    for (var i = lane; i < p.segs; i += threads) { state = merge(state, states[unit * p.segs + i]); }
  }
  state = reduce(t, state, subgroup);
  if (valid && lane == 0u) { finish(unit, state); }
#else
  // Counted from the first unit of the dispatch, which is segment p.seg0 of its row.
  let row = (unit + p.seg0) / p.segs;
  let segment = (unit + p.seg0) % p.segs;
  let begin = p.x_at + row * p.stride + (segment - p.seg0) * p.seg;
  var state = no_state;
  if (valid) {
    let len = min(p.seg, p.columns - segment * p.seg);
    state = stream_row(begin, begin + len, lane, segment);
    if (lane == 0u) { state = extra(row, begin, segment, len, state); }
  }
  state = reduce(t, state, subgroup);
#if STAGE=whole
  if (valid && lane == 0u) { finish(row, state); }
#else
  if (valid && lane == 0u) { states[p.unit0 + unit] = state; }
#end
#end
}
