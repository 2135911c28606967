// Operations on f32 that are each rounded to the nearest by themselves: what they give together has the same bits on
// every device, so nothing may be fused or approximated.
#pragma once
#include "common.cuh"

#ifdef GRISTMILL_HOST
DEVICE float multiply(float a, float b) { return a * b; }
DEVICE float add(float a, float b) { return a + b; }
DEVICE float divide(float a, float b) { return a / b; }
DEVICE float square_root(float a) { return sqrtf(a); }
#else
DEVICE float multiply(float a, float b) { return __fmul_rn(a, b); }
DEVICE float add(float a, float b) { return __fadd_rn(a, b); }
DEVICE float divide(float a, float b) { return __fdiv_rn(a, b); }
DEVICE float square_root(float a) { return __fsqrt_rn(a); }
#endif
