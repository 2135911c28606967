// Sums over a warp or a block, for all of its threads.
#pragma once
#include "reduce.cuh"

// What all threads of the team have, added up in a fixed order, for all of them; a block has 8 bytes of shared memory for
// each of its warps.
DEVICE double team_total(Sum sum, u32 team) {
  merge_warp(sum);
  if (team == WARP) return sum.sum;
  double* of_warp = reinterpret_cast<double*>(shared_memory());
  sync_block();
  if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = sum.sum;
  sync_block();
  double all = 0.0;
  for (u32 w = 0; w < BLOCK / WARP; w++) all += of_warp[w];
  return all;
}
