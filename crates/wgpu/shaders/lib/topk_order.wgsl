// The order of top-k: by magnitude bits, greatest first, then by position. Entries are (bits, position).
fn magnitude(bits: u32) -> u32 { return bits & 0x7fffffffu; }
fn comes_before(a: vec2<u32>, b: vec2<u32>) -> bool {
  let ma = magnitude(a.x);
  let mb = magnitude(b.x);
  return ma > mb || (ma == mb && a.y < b.y);
}
// What stands for no entry: behind all others, and what a short chunk is filled up with.
const no_entry = vec2<u32>(0u, 0xffffffffu);

// Selection goes digit by digit, eight bits each, from the top: first of the magnitude, then, among equal ones, of the
// inverted position, so that lower positions are greater.
fn digit_shift(level: u32) -> u32 { return 24u - 8u * (level & 3u); }
fn digit(level: u32, bits: u32, position: u32) -> u32 {
  return (select(magnitude(bits), ~position, level >= 4u) >> digit_shift(level)) & 0xffu;
}
// Whether an element agrees with the digits that were chosen at the levels before.
fn agrees(level: u32, bits: u32, position: u32, chosen: vec2<u32>) -> bool {
  let above = select(0xffffffffu << ((digit_shift(level) + 8u) & 31u), 0u, (level & 3u) == 0u);
  if (level < 4u) { return ((magnitude(bits) ^ chosen.x) & above) == 0u; }
  return magnitude(bits) == chosen.x && ((~position ^ chosen.y) & above) == 0u;
}
// Whether an element is among those selected, at the end.
fn selected(bits: u32, position: u32, chosen: vec2<u32>) -> bool {
  let m = magnitude(bits);
  return m > chosen.x || (m == chosen.x && ~position >= chosen.y);
}
