/* The inside of the CUDA backend: its state, its streams and scratch memory, how it reports errors
 * and starts kernels, and the functions that fill the operation table.
 *
 * The functions at the end have the contracts of kernels/backend.h. Activations are f32 whatever
 * the arithmetic of matrix products (as on the CPU), weights prepared for GEMM are f32 or bf16.
 * Everything is queued on a stream and nothing waits, except where said. Nothing is summed in an
 * order that depends on timing: no atomics on floating-point numbers.
 *
 * Sources here are read by two compilers. nvcc makes them the backend; a host compiler makes them
 * C++ that runs thread by thread on a processor, for tests (tests/cuda_host/). So kernels are plain
 * C++: what is not (shuffles, tensor cores, asynchronous copies, dynamic shared memory) is in
 * warp.cuh, kernels are started by sb_cuda_launch, never by <<<>>>, and
 * __shared__ variables hold no initial value. */
#ifndef SB_KERNELS_CUDA_CUDA_H
#define SB_KERNELS_CUDA_CUDA_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cuda_runtime.h>

#ifdef __CUDACC__
#include <cuda_fp16.h> /* grid.h needs it, and it is C++ */
#endif

extern "C" {
#include "base/dtype.h"
#include "base/status.h"
#include "kernels/backend.h"
}

#include "kernels/cuda/cuda_blas.h"
#include "kernels/cuda/cuda_solver.h"

enum {
  SB_WARP = 32,
  SB_CUDA_THREADS = 256, /* of a block, where a kernel has no reason for another number */
  SB_CUDA_STATIC_SHARED = 48 << 10, /* bytes of shared memory a block gets without asking */
  SB_CUDA_WORKSPACE = 32 << 20 /* bytes for cuBLAS: given by hand, so that its choice of algorithm,
                                  and its bits, stay */
};

/* Buffers that outlive a call, so that no operation allocates in the steady state. One slot is in
 * use by one operation at a time. */
typedef enum sb_cuda_slot {
  SB_CUDA_SLOT_A,         /* GEMM operand A converted; RMSNorm: partial sums */
  SB_CUDA_SLOT_B,         /* GEMM operand B converted */
  SB_CUDA_SLOT_WORKSPACE, /* cuBLAS' own */
  SB_CUDA_SLOT_WORK,      /* attention, moments, curvature, block scores, rounding */
  SB_CUDA_SLOT_SMALL,     /* moments: flags */
  SB_CUDA_SLOT_COUNT
} sb_cuda_slot;

enum { SB_CUDA_PARCELS = 32 };

/* A small argument (bit map, offsets) on its way: its copy in pinned memory, and on the device. */
typedef struct sb_cuda_parcel {
  void *host, *device;
  size_t bytes;
  cudaStream_t user;
  cudaEvent_t used; /* everything that was queued on `user` until the next parcel */
} sb_cuda_parcel;

/* What a kernel finds wrong with numbers: it stores one of these in sb_cuda.trouble, and the next
 * sync reports it. */
typedef enum sb_cuda_trouble {
  SB_CUDA_TROUBLE_INPUTS = 1,
  SB_CUDA_TROUBLE_GRADIENTS,
  SB_CUDA_TROUBLE_MULTIPLES
} sb_cuda_trouble;

typedef struct sb_cuda {
  sb_compute compute;
  int device;           /* CUDA's number */
  int multiprocessors;  /* for cutting work */
  size_t shared_limit;  /* bytes of shared memory a block may ask for */
  size_t memory;        /* bytes of device memory in all */
  uint8_t uuid[16];     /* the device's */
  char where[256];      /* "GPU 1 (NVIDIA H100) of gpu07": starts every message */
  cudaStream_t stream;  /* what NULL stands for */
  cudaEvent_t crossing; /* lets one stream wait for another */
  int *trouble;         /* host memory that kernels can write; 0 or an sb_cuda_trouble */
  sb_cuda_blas blas;
  struct sb_cuda_nccl *nccl; /* NULL until a group is asked for */
  sb_cuda_solver solver;     /* loaded when factors are first asked for */
  struct {
    void *data;
    size_t bytes;
    cudaStream_t user; /* used it last */
  } scratch[SB_CUDA_SLOT_COUNT];
  sb_cuda_parcel parcels[SB_CUDA_PARCELS];
  int parcel; /* the last one given out */
} sb_cuda;

static inline sb_cuda *sb_cuda_of(sb_backend *backend) {
  return (sb_cuda *)backend->impl;
}

/* The stream an operation runs on. */
static inline cudaStream_t sb_cuda_stream(sb_backend *backend, sb_stream stream) {
  return stream ? (cudaStream_t)stream : sb_cuda_of(backend)->stream;
}

/* SB_OK for cudaSuccess; else SB_ERR_DEVICE with one line: where, what was tried, CUDA's name and
 * words for the error. */
sb_status sb_cuda_check(const sb_backend *backend, cudaError_t error, const char *what);

#define SB_CUDA_TRY(backend, call, what) SB_TRY(sb_cuda_check(backend, call, what))

/* *out = at least `bytes` bytes of device memory in `slot`, 256-byte aligned, content undefined, in
 * use by `stream` until the next call with the same slot; a stream that asks for it next waits for
 * what this one has queued by then. Grows (which waits for the device), never shrinks. */
sb_status sb_cuda_scratch(sb_backend *backend, cudaStream_t stream, sb_cuda_slot slot, size_t bytes,
                          void *out_pointer);

/* *out = a copy of `bytes` bytes of host memory on the device, 256-byte aligned, for what is queued
 * on `stream` before the next call of this function; the host memory is not read after the call.
 * Waits only where SB_CUDA_PARCELS are on their way. */
sb_status sb_cuda_send(sb_backend *backend, cudaStream_t stream, const void *host, size_t bytes,
                       void *out_pointer);
void sb_cuda_send_free(sb_backend *backend);

/* Blocks for `count` items at `each` a block: as many as needed, at most `most`; kernels stride
 * over the rest. */
static inline unsigned sb_cuda_blocks(size_t count, size_t each, size_t most) {
  size_t blocks = (count + each - 1) / each;
  return (unsigned)(blocks < 1 ? 1 : blocks < most ? blocks : most);
}
/* The same for kernels of one item a thread, SB_CUDA_THREADS threads a block. */
static inline unsigned sb_cuda_blocks_for(sb_backend *backend, size_t count) {
  return sb_cuda_blocks(count, SB_CUDA_THREADS, (size_t)sb_cuda_of(backend)->multiprocessors * 16);
}

/* Queues kernel(arguments...) on `grid` blocks of `block` threads with `shared` bytes of dynamic
 * shared memory. `name` is for the message. Errors of the launch itself come back; those of the
 * kernel at the next sync. */
template <typename... Parameters, typename... Arguments>
sb_status sb_cuda_launch(sb_backend *backend, cudaStream_t stream, const char *name,
                         void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared,
                         Arguments... arguments) {
  if (shared > SB_CUDA_STATIC_SHARED)
    SB_TRY(sb_cuda_check(backend,
                         cudaFuncSetAttribute((const void *)kernel,
                                              cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              (int)shared),
                         name));
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  return sb_cuda_check(
      backend, cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}

/* ---- cuda_memory.cu; sb_cuda_send: cuda_send.cu ---- */
sb_status sb_cuda_alloc(sb_backend *, size_t bytes, const char *what, void **device);
void sb_cuda_free(sb_backend *, void *device);
sb_status sb_cuda_host_alloc(sb_backend *, size_t bytes, const char *what, void **host);
void sb_cuda_host_free(sb_backend *, void *host);
sb_status sb_cuda_host_pin(sb_backend *, void *host, size_t bytes);
void sb_cuda_host_unpin(sb_backend *, void *host);
sb_status sb_cuda_upload(sb_backend *, sb_stream, void *device, const void *host, size_t bytes);
sb_status sb_cuda_download(sb_backend *, sb_stream, void *host, const void *device, size_t bytes);
sb_status sb_cuda_copy(sb_backend *, sb_stream, void *dst, const void *src, size_t bytes);
sb_status sb_cuda_zero(sb_backend *, sb_stream, void *device, size_t bytes);
sb_status sb_cuda_stream_create(sb_backend *, sb_stream *);
void sb_cuda_stream_destroy(sb_backend *, sb_stream);
sb_status sb_cuda_stream_wait(sb_backend *, sb_stream waiter, sb_stream waited);
sb_status sb_cuda_sync(sb_backend *, sb_stream);

/* ---- cuda_peers.cu, or cuda_peers_none.cu from a build without NCCL ---- */
sb_status sb_cuda_peers_token(sb_backend *, sb_peers_token *token);
sb_status sb_cuda_peers_join(sb_backend *, sb_peers, const sb_peers_token *, int rank, int size);
sb_status sb_cuda_upload_shared(sb_backend *, sb_stream, void *device, const void *host,
                                size_t bytes);
sb_status sb_cuda_sum_i64(sb_backend *, sb_stream, int64_t *sums, size_t count);
void sb_cuda_peers_close(sb_backend *);

/* ---- cuda_convert.cu, cuda_gather.cu, cuda_gemm.cu ---- */
sb_status sb_cuda_convert(sb_backend *, sb_stream, void *dst, sb_dtype dst_dtype, const void *src,
                          sb_dtype src_dtype, size_t count);
sb_status sb_cuda_gather_matrix(sb_backend *, sb_stream, void *dst, const void *src, sb_dtype dtype,
                                size_t rows, size_t cols, const uint32_t *row_from,
                                const uint32_t *col_from);
sb_status sb_cuda_gemm(sb_backend *, sb_stream, bool trans_a, bool trans_b, size_t m, size_t n,
                       size_t k, float alpha, const void *a, sb_dtype a_dtype, size_t lda,
                       const void *b, sb_dtype b_dtype, size_t ldb, float beta, void *c,
                       sb_dtype c_dtype, size_t ldc);
/* c[m,n] += alpha a[m,k] b[k,n] in f32, whatever the backend computes in. */
sb_status sb_cuda_add_product(sb_backend *, cudaStream_t, size_t m, size_t n, size_t k, float alpha,
                              const float *a, size_t lda, const float *b, size_t ldb, float *c,
                              size_t ldc);

/* ---- the parts of a decoder layer: cuda_rmsnorm.cu, cuda_rope.cu, cuda_attention*.cu,
 * cuda_swiglu.cu ---- */
sb_status sb_cuda_rmsnorm(sb_backend *, sb_stream, void *y, float *rstd, const void *x,
                          const float *w, size_t T, size_t h, float eps);
sb_status sb_cuda_rmsnorm_back(sb_backend *, sb_stream, void *dx, float *dw, const void *dy,
                               const void *x, const float *w, const float *rstd, size_t T,
                               size_t h);
sb_status sb_cuda_rope(sb_backend *, sb_stream, void *x, const float *cos_sin, size_t T,
                       size_t heads, size_t head_dim, bool inverse);
sb_status sb_cuda_attention(sb_backend *, sb_stream, void *o, float *lse, const void *q,
                            const void *k, const void *v, size_t T, size_t heads, size_t kv_heads,
                            size_t d);
sb_status sb_cuda_attention_back(sb_backend *, sb_stream, void *dq, void *dk, void *dv,
                                 const void *d_o, const void *o, const float *lse, const void *q,
                                 const void *k, const void *v, size_t T, size_t heads,
                                 size_t kv_heads, size_t d);
sb_status sb_cuda_swiglu(sb_backend *, sb_stream, void *y, const void *gate, const void *up,
                         size_t n);
sb_status sb_cuda_swiglu_back(sb_backend *, sb_stream, void *dgate, void *dup, void *y,
                              const void *dy, const void *gate, const void *up, size_t n);
sb_status sb_cuda_add(sb_backend *, sb_stream, void *y, const void *x, size_t n);

/* ---- the ends of the model: cuda_embed.cu, cuda_xent.cu ---- */
sb_status sb_cuda_embed(sb_backend *, sb_stream, void *x, const uint32_t *ids, const void *table,
                        sb_dtype table_dtype, size_t T, size_t h, size_t v0, size_t nv);
sb_status sb_cuda_embed_back(sb_backend *, sb_stream, float *dtable, const uint32_t *ids,
                             const void *dx, size_t T, size_t h, size_t v0, size_t nv);
sb_status sb_cuda_xent_begin(sb_backend *, sb_stream, float *row_max, float *row_sum,
                             float *target_logit, uint32_t *argmax, size_t T);
sb_status sb_cuda_xent_chunk(sb_backend *, sb_stream, float *row_max, float *row_sum,
                             float *target_logit, uint32_t *argmax, const float *logits,
                             const uint32_t *targets, size_t T, size_t v0, size_t nv);
sb_status sb_cuda_xent_end(sb_backend *, sb_stream, float *lse, double *nll, const float *row_max,
                           const float *row_sum, const float *target_logit, const uint32_t *targets,
                           size_t T);
sb_status sb_cuda_xent_back_chunk(sb_backend *, sb_stream, float *logits, const float *lse,
                                  const uint32_t *targets, float scale, size_t T, size_t v0,
                                  size_t nv);
sb_status sb_cuda_kl_chunk(sb_backend *, sb_stream, double *kl, const float *ref_logits,
                           const float *ref_lse, const float *logits, const float *lse, size_t T,
                           size_t nv);
sb_status sb_cuda_kl_end(sb_backend *, sb_stream, double *kl, const float *lse,
                         const float *ref_lse, const uint32_t *targets, size_t T);
sb_status sb_cuda_kl_back_chunk(sb_backend *, sb_stream, float *logits, const float *lse,
                                const float *ref_logits, const float *ref_lse,
                                const uint32_t *targets, float scale, size_t T, size_t nv);

/* ---- quantization: cuda_fit.cu, cuda_quantize.cu, cuda_moves.cu, cuda_channels.cu,
 * cuda_squares.cu, cuda_curvature.cu, cuda_round.cu, cuda_refine.cu, cuda_unpack.cu ---- */
sb_status sb_cuda_fit_blocks(sb_backend *, sb_stream, uint8_t *fits, const void *w,
                             sb_dtype w_dtype, const float *importance, const sb_tiling *,
                             const uint8_t *bits, sb_symmetry);
sb_status sb_cuda_quantize_blocks(sb_backend *, sb_stream, void *out, sb_dtype out_dtype,
                                  const void *w, sb_dtype w_dtype, const sb_tiling *,
                                  const uint8_t *bits, sb_symmetry, const uint8_t *fits);
sb_status sb_cuda_move_grids(sb_backend *, sb_stream, sb_stored_grid *grids, const void *w,
                             sb_dtype w_dtype, const sb_tiling *, const uint8_t *bits, sb_symmetry,
                             const float *importance, const uint8_t *fits);
sb_status sb_cuda_block_moves(sb_backend *, sb_stream, double *raise, double *cut, const float *g,
                              size_t ldg, const void *w, sb_dtype w_dtype, const void *now,
                              sb_dtype now_dtype, const sb_stored_grid *grids, const sb_tiling *,
                              const uint8_t *bits, unsigned min_bits, unsigned max_bits,
                              sb_symmetry);
sb_status sb_cuda_group_products(sb_backend *, sb_stream, float *out, const float *g, size_t ldg,
                                 const void *w, sb_dtype w_dtype, const sb_tiling *);
sb_status sb_cuda_channel_scores(sb_backend *, sb_stream, double *rows, double *cols,
                                 const float *g, size_t ldg, const void *w, sb_dtype w_dtype,
                                 const sb_tiling *, const uint8_t *bits, bool absolute, sb_symmetry,
                                 const uint8_t *fits);
sb_status sb_cuda_block_squares(sb_backend *, sb_stream, double (*loss)[SB_WIDTHS], const float *g,
                                size_t ldg, const void *w, sb_dtype w_dtype,
                                const sb_stored_grid *grids, const sb_tiling *, unsigned min_bits,
                                unsigned max_bits);
sb_status sb_cuda_choose_grids(sb_backend *, sb_stream, sb_stored_grid *grids, const void *w,
                               sb_dtype w_dtype, const sb_tiling *, unsigned min_bits,
                               unsigned max_bits, sb_symmetry, const float *importance);
sb_status sb_cuda_block_curvature(sb_backend *, sb_stream, double (*loss)[SB_WIDTHS],
                                  const float *grams, const float *row_weights, const void *w,
                                  sb_dtype w_dtype, const sb_tiling *, size_t first, size_t count,
                                  unsigned min_bits, unsigned max_bits, sb_symmetry,
                                  const float *importance);
sb_status sb_cuda_round_columns(sb_backend *, sb_stream, const sb_stack *, float *w, size_t begin,
                                size_t end, const float *panel, size_t ld, bool fitted);
sb_status sb_cuda_refine_residual(sb_backend *, sb_stream, const sb_stack *, float *residual,
                                  const float *w, size_t begin, size_t end, const float *panel);
sb_status sb_cuda_refine_columns(sb_backend *, sb_stream, const sb_stack *, float *residual,
                                 size_t begin, size_t end, const float *panel);
sb_status sb_cuda_unpack_blocks(sb_backend *, sb_stream, void *out, sb_dtype out_dtype,
                                const uint8_t *packed, const size_t *offsets, const sb_tiling *,
                                const uint8_t *bits, sb_symmetry);

/* ---- multiplication with packed weights: cuda_packed.cu, cuda_packed_tiles.cu,
 * cuda_packed_rows.cu ---- */
sb_status sb_cuda_packed_create(sb_backend *, sb_stream, const uint8_t *packed,
                                const size_t *offsets, const sb_tiling *, const uint8_t *bits,
                                sb_symmetry, sb_packed *out);
void sb_cuda_packed_destroy(sb_backend *, sb_packed);
sb_status sb_cuda_packed_gemm(sb_backend *, sb_stream, void *y, const void *x, size_t T,
                              sb_packed w, bool add);

/* ---- sums of second moments, and their factors: cuda_moments.cu, cuda_factor.cu ---- */
sb_status sb_cuda_add_grams(sb_backend *, sb_stream, int64_t *sums, const void *x, size_t tokens,
                            size_t cols, size_t block_cols, int exponent);
sb_status sb_cuda_add_squares(sb_backend *, sb_stream, int64_t *sums, const void *y, size_t tokens,
                              size_t cols, int exponent);
sb_status sb_cuda_add_multiples(sb_backend *, sb_stream, int64_t *sums, const float *x,
                                size_t count, double quantum, bool reversed);
sb_status sb_cuda_factor_moments(sb_backend *, sb_stream, sb_factor_job *jobs, size_t count);
void sb_cuda_factor_close(sb_backend *); /* what factors were made with */

#endif
