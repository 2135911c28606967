// What nll and linear_nll share: logits, and the targets of rows.
#pragma once
#include "reduce.cuh"

struct Logits {
  const float* bias;  // [vocab], or null.
  u64 vocab;
  float softcap;   // 0 for none.
  float exponent;  // 2 log2(e) / softcap.

  // softcap · tanh(z / softcap), as 1 - 2 / (e^(2 z / softcap) + 1): its error is a part of the cap, as is that of the
  // logits around it, and it costs four instructions where tanhf costs thirty.
  DEVICE float cap(float z) const {
    return softcap > 0.0f ? softcap * (1.0f - 2.0f * reciprocal_approx(exp2_approx(z * exponent) + 1.0f)) : z;
  }
  DEVICE float at(float product, u64 column) const { return cap(bias ? product + bias[column] : product); }
};

struct Targets {
  const u32* targets;
  u32* status;
  u32 is_signed;
  u32 reserved;

  DEVICE u64 at(u64 row) const { return index_at(targets, row, is_signed); }
};
