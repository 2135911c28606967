// Asynchronous copies and tensor-core fragments (sm_80 and later), each with a host body.
#pragma once
#include "common.cuh"

#ifdef GRISTMILL_HOST
// Copies `bytes` of 16 and zeros the rest.
DEVICE void copy_async(void* shared, const void* global, u32 bytes) { cuda_host::copy_async(shared, global, bytes); }
DEVICE void copy_async_commit() { cuda_host::copy_async_commit(); }
template <u32 PENDING>
DEVICE void copy_async_wait() {
  cuda_host::copy_async_wait(PENDING);
}
// Four 8 × 8 matrices of 16-bit elements: thread `l` names row `l % 8` of matrix `l / 8`.
template <bool TRANSPOSED>
DEVICE void load_matrices(u32 (&r)[4], const void* row) {
  cuda_host::load_matrices(r, row, TRANSPOSED);
}
DEVICE void multiply_add(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2], Of<bf16>) {
  cuda_host::multiply_add(c, a, b, [](u16 x) { return to_float(bf16{x}); });
}
DEVICE void multiply_add(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2], Of<f16>) {
  cuda_host::multiply_add(c, a, b, [](u16 x) { return to_float(f16{x}); });
}
#else
DEVICE u32 shared_address(const void* p) { return static_cast<u32>(__cvta_generic_to_shared(p)); }
DEVICE void copy_async(void* shared, const void* global, u32 bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes)
               : "memory");
}
DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <u32 PENDING>
DEVICE void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}
template <bool TRANSPOSED>
DEVICE void load_matrices(u32 (&r)[4], const void* row) {
  if constexpr (TRANSPOSED)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
#define MULTIPLY_ADD(T)                                                                          \
  DEVICE void multiply_add(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2], Of<T>) {      \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." #T "." #T                           \
                 ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"       \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                             \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));         \
  }
MULTIPLY_ADD(bf16)
MULTIPLY_ADD(f16)
#undef MULTIPLY_ADD
#endif
