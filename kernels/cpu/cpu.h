/* The inside of the CPU backend: its state, its scratch memory, and its operations.
 *
 * Operations have the contracts of kernels/ops/. Activations are f32. Streams are ignored, because
 * every operation is done when it returns. An operation cuts its work by the shapes alone, never by
 * the number of threads, and the cut fixes the order of its sums: so the bits do not depend on the
 * threads. */
#ifndef SB_KERNELS_CPU_CPU_H
#define SB_KERNELS_CPU_CPU_H

#include "kernels/backend.h"

/* Buffers that outlive a call, so that no operation allocates in the steady state. One slot is in
 * use by one operation at a time. */
typedef enum sb_cpu_slot {
  SB_CPU_SLOT_A,       /* GEMM operand A converted; operands of other products as floats */
  SB_CPU_SLOT_B,       /* GEMM operand B converted */
  SB_CPU_SLOT_SHARED,  /* attention, packed weights: shared by all threads */
  SB_CPU_SLOT_THREADS, /* attention, moments, curvature, rounding, packed weights: one part per
                          thread; RMSNorm: partial sums */
  SB_CPU_SLOT_COUNT
} sb_cpu_slot;

typedef struct sb_packed_kernels sb_packed_kernels; /* cpu_packed.h */
typedef struct sb_cpu_bf16 sb_cpu_bf16; /* oneDNN's engine and prepared GEMMs: cpu_gemm_bf16.h */

typedef struct sb_cpu {
  sb_compute compute;
  int threads; /* 0: asks OpenMP at each call */
  struct {
    void *data;
    size_t bytes;
  } scratch[SB_CPU_SLOT_COUNT];
  const sb_packed_kernels *packed; /* the fastest kernels that this processor can run */
  sb_cpu_bf16 *bf16; /* NULL for SB_COMPUTE_F32, unless a product asked for bf16 and got it */
  bool bf16_refused; /* such a product did not get it */
} sb_cpu;

/* Number of threads an operation may use now. */
int sb_cpu_threads(const sb_backend *backend);

/* *out = at least count items of `size` bytes in `slot`, 64-byte aligned, content undefined; valid
 * until the next call with the same slot. Grows, never shrinks. */
sb_status sb_cpu_scratch(sb_backend *backend, sb_cpu_slot slot, size_t count, size_t size,
                         void *out_pointer);

/* ---- cpu_convert.c ---- */
/* dst[count] = src as floats, and dst[count] = (dst_dtype) src, on the calling thread alone. */
void sb_cpu_to_f32(float *dst, const void *src, sb_dtype src_dtype, size_t count);
void sb_cpu_from_f32(void *dst, sb_dtype dst_dtype, const float *src, size_t count);
/* *out = the operands x [count] as floats: x itself, or a copy in SB_CPU_SLOT_A, valid until the
 * next use of that slot. */
sb_status sb_cpu_floats(sb_backend *, const void *x, size_t count, const float **out);

/* ---- the operations: sb_cpu_NAME for each NAME of kernels/backend.h ---- */
#define SB_CPU_PROTOTYPE(name) sb_##name##_fn sb_cpu_##name;
SB_OPS(SB_CPU_PROTOTYPE)
#undef SB_CPU_PROTOTYPE

#endif
