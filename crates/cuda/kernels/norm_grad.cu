// norm_grad: the gradient of norm at its rows, and their inner products. A warp takes a short row, a block a long one; sums in
// f64. The row is read again for each sum and for the result, from the cache.
#include "team.cuh"

struct NormGradArgs {
  const void* x;
  const void* dy;
  const float* weight;  // [columns], or null.
  void* dx;
  float* dots;
  u64 rows;
  u64 columns;
  float eps;
  u32 team;      // Threads: 32 or 256.
  u32 centered;  // Whether the mean was taken away.
};

template <class T>
DEVICE void norm_grad(const NormGradArgs& args) {
  const u32 lane = threadIdx.x % args.team, of_block = BLOCK / args.team;
  const u64 step = u64(gridDim.x) * of_block;
  const double n = double(args.columns);
  for (u64 row = u64(blockIdx.x) * of_block + threadIdx.x / args.team; row < args.rows; row += step) {
    const T* x = static_cast<const T*>(args.x) + row * args.columns;
    const T* dy = static_cast<const T*>(args.dy) + row * args.columns;
    T* dx = static_cast<T*>(args.dx) + row * args.columns;
    const auto sum_of = [&](auto term) {
      Sum sum = Sum::start();
      stream(x, args.columns, lane, args.team, [&](const auto& v, u64) {
        UNROLL
        for (u32 i = 0; i < sizeof(v) / sizeof(float); i++) sum.sum += term(double(v[i]));
      });
      return team_total(sum, args.team);
    };
    const double mean = args.centered ? sum_of([](double v) { return v; }) / n : 0.0;
    const double scale = 1.0 / sqrt(sum_of([&](double v) { return (v - mean) * (v - mean); }) / n + double(args.eps));
    const auto normal = [&](u64 j) { return (double(to_float(x[j])) - mean) * scale; };
    const auto factor = [&](u64 j) { return args.weight ? double(args.weight[j]) : 1.0; };
    Sum along = Sum::start(), shift = Sum::start(), dot = Sum::start();
    for (u64 j = lane; j < args.columns; j += args.team) {
      const double z = normal(j), given = double(to_float(dy[j])), g = given * factor(j);
      along.sum += g * z;
      shift.sum += g;
      dot.sum += given * z;
    }
    const double of_z = team_total(along, args.team) / n, inner = team_total(dot, args.team);
    const double of_one = args.centered ? team_total(shift, args.team) / n : 0.0;
    for (u64 j = lane; j < args.columns; j += args.team) {
      const double g = double(to_float(dy[j])) * factor(j);
      dx[j] = from_float<T>(float(scale * (g - of_one - normal(j) * of_z)));
    }
    if (lane == 0) args.dots[row] = float(inner);
  }
}

KERNEL(norm_grad_f32, NormGradArgs, norm_grad<float>(args))
KERNEL(norm_grad_bf16, NormGradArgs, norm_grad<bf16>(args))
KERNEL(norm_grad_f16, NormGradArgs, norm_grad<f16>(args))
