// The factor that clips a gradient, as `ClipRule` of the core defines it.
#pragma once
#include "exact.cuh"

enum ClipRule { FLAT, AUTOMATIC, UNIT, THRESHOLD };

constexpr float MARGIN = 1.0f - 1.0f / 1048576.0f, FLAT_TERM = 1e-6f, LEAST_BOUND = 1e-18f;
constexpr float SMALLEST_NORMAL = 1.17549435e-38f, GREATEST = 3.40282347e+38f;

// Whether this is the square of a norm: no NaN, and neither negative nor infinite.
DEVICE bool is_measured(float squared) { return squared >= 0.0f && squared <= GREATEST; }
DEVICE bool is_bound(float max_norm) { return max_norm >= LEAST_BOUND && max_norm <= GREATEST; }
DEVICE float norm_of(float squared) { return squared < SMALLEST_NORMAL ? 0.0f : square_root(squared); }

DEVICE float clip_factor(u32 rule, float gamma, float squared, float max_norm) {
  if (!is_measured(squared) || !is_bound(max_norm)) return 0.0f;
  const float norm = norm_of(squared);
  if (rule == THRESHOLD) return norm <= multiply(max_norm, MARGIN) ? 1.0f : 0.0f;
  if (rule == UNIT && norm == 0.0f) return 0.0f;
  const float divisor = rule == UNIT ? norm : add(norm, rule == FLAT ? FLAT_TERM : gamma);
  const float factor = multiply(least(divide(max_norm, divisor), GREATEST), MARGIN);
  if (rule == FLAT && factor > 1.0f) return 1.0f;
  return factor < SMALLEST_NORMAL ? 0.0f : factor;
}
