// Consecutive segments reduced to a state each, then to results. A segment's elements are taken in p.parts parts, so
// that few long segments keep the whole device busy, and in windows of the values, where a binding cannot show all of
// them. ${STAGE} says what a dispatch does:
//   whole    one part and one window: elements become results;
//   partial  part and window leave a state in `states`, of which each segment has p.states;
//   merge    the states of each segment become its results.
// ${THREADS} invocations share a part. The including file has `stream_segment`, `merge` and
// `finish(segment, tokens, state)`, `fail(segment)`.
#include reduce
#include main

// Begin and end of a segment, or a fault: (begin, end, 0 or 1).
fn bounds(segment: u32) -> vec3<u32> {
  let begin = offsets[p.offsets_at + segment];
  let end = offsets[p.offsets_at + segment + 1u];
  // Negative ones are beyond any number of values that p.values can be, for signed offsets.
  return vec3(begin, end, select(0u, 1u, begin > end || end > p.values));
}

fn work(group: u32, t: u32, subgroup: u32) {
  let unit = group * (256u / threads) + t / threads;
  let lane = t % threads;
#if STAGE=merge
  let segment = unit;
  let valid = segment < p.segments;
  var state = no_state;
  if (valid) {
    for (var i = lane; i < p.states; i += threads) { state = merge(state, states[segment * p.states + i]); }
  }
#else
  let segment = unit / p.parts;
  let part = unit % p.parts;
  let valid = segment < p.segments;
  var state = no_state;
  if (valid) {
    let b = bounds(segment);
    if (b.z == 0u) {
      // Parts begin at multiples of 8 elements, all but the first.
      let size = ((b.y - b.x + p.parts - 1u) / p.parts + 7u) & ~7u;
      let first = max(min(b.x + part * size, b.y), p.window);
      let stop = select(min(b.x + (part + 1u) * size, b.y), b.y, part + 1u == p.parts);
      let last = min(stop, p.window + p.window_len);
      if (first < last) { state = stream_segment(first - p.window, last - p.window, lane); }
    }
  }
#end
  state = reduce(t, state, subgroup);
#if STAGE=partial
  if (valid && lane == 0u) { states[segment * p.states + p.state0 + part] = state; }
#else
  if (valid && lane == 0u) {
    let b = bounds(segment);
    if (b.z == 1u) {
      atomicMax(&faults[p.slot], ~(p.segment0 + segment));
      fail(segment);
    } else {
      finish(segment, b.y - b.x, state);
    }
  }
#end
}
