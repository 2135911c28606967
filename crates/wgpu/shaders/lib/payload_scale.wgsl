// Whether the words in front are those of a scale, or of levels.
fn scaled(peer: u32, start: u32) -> bool {
#if QUANTIZER=signMagnitude
  return are_magnitudes(payloads[start]);
#end
#if QUANTIZER=reference
  let levels = p.payloads_at + peer * p.stride;
  return is_value(payloads[levels]) && is_value(payloads[levels + 1u]) && is_value(payloads[levels + 2u])
    && is_value(payloads[levels + 3u]);
#end
#if QUANTIZER=int8
  return is_step(payloads[start]);
#end
#if QUANTIZER=none
  return true;
#end
}
