/* The inside of the CPU backend: its state, its scratch memory, and the functions that fill the
 * operation table.
 *
 * The functions below have the contracts of kernels/backend.h; activations are f32 and streams are
 * ignored, for every operation is done when it returns. Each threads over work whose cut depends on
 * the shapes alone, never on the number of threads, and sums in an order fixed by the same cut:
 * that is what makes the bits independent of the threads. */
#ifndef SB_KERNELS_CPU_CPU_H
#define SB_KERNELS_CPU_CPU_H

#include "kernels/backend.h"

/* Buffers that outlive a call, so that no operation allocates in the steady state. One slot is in
 * use by one operation at a time. */
typedef enum sb_cpu_slot {
  SB_CPU_SLOT_A,       /* GEMM operand A converted; operands of other products as floats */
  SB_CPU_SLOT_B,       /* GEMM operand B converted */
  SB_CPU_SLOT_SHARED,  /* attention, packed weights: what all threads see */
  SB_CPU_SLOT_THREADS, /* attention, moments, curvature, rounding, packed weights: one part a
                          thread; RMSNorm: partial sums */
  SB_CPU_SLOT_COUNT
} sb_cpu_slot;

typedef struct sb_packed_kernels sb_packed_kernels; /* cpu_packed.h */
typedef struct sb_cpu_bf16 sb_cpu_bf16; /* oneDNN's engine and prepared GEMMs: cpu_gemm_bf16.h */

typedef struct sb_cpu {
  sb_compute compute;
  int threads; /* 0: what OpenMP says at each call */
  struct {
    void *data;
    size_t bytes;
  } scratch[SB_CPU_SLOT_COUNT];
  const sb_packed_kernels *packed; /* the fastest ones that this processor has */
  sb_cpu_bf16 *bf16;               /* NULL for SB_COMPUTE_F32 */
} sb_cpu;

/* Number of threads an operation may use now. */
int sb_cpu_threads(const sb_backend *backend);

/* *out = at least count items of `size` bytes in `slot`, 64-byte aligned, content undefined; valid
 * until the next call with the same slot. Grows, never shrinks. */
sb_status sb_cpu_scratch(sb_backend *backend, sb_cpu_slot slot, size_t count, size_t size,
                         void *out_pointer);

/* ---- cpu_memory.c ---- */
sb_status sb_cpu_alloc(sb_backend *, size_t bytes, const char *what, void **out);
void sb_cpu_free(sb_backend *, void *pointer);
sb_status sb_cpu_upload(sb_backend *, sb_stream, void *device, const void *host, size_t bytes);
sb_status sb_cpu_download(sb_backend *, sb_stream, void *host, const void *device, size_t bytes);
sb_status sb_cpu_copy(sb_backend *, sb_stream, void *dst, const void *src, size_t bytes);
sb_status sb_cpu_zero(sb_backend *, sb_stream, void *device, size_t bytes);
sb_status sb_cpu_peers_token(sb_backend *, sb_peers_token *token);
sb_status sb_cpu_peers_join(sb_backend *, sb_peers, const sb_peers_token *, int rank, int size);
sb_status sb_cpu_sum_i64(sb_backend *, sb_stream, int64_t *sums, size_t count);
sb_status sb_cpu_host_pin(sb_backend *, void *host, size_t bytes);
void sb_cpu_host_unpin(sb_backend *, void *host);
sb_status sb_cpu_stream_create(sb_backend *, sb_stream *);
void sb_cpu_stream_destroy(sb_backend *, sb_stream);
sb_status sb_cpu_stream_wait(sb_backend *, sb_stream waiter, sb_stream waited);
sb_status sb_cpu_sync(sb_backend *, sb_stream);

/* ---- cpu_convert.c ---- */
sb_status sb_cpu_convert(sb_backend *, sb_stream, void *dst, sb_dtype dst_dtype, const void *src,
                         sb_dtype src_dtype, size_t count);
/* By the calling thread alone. */
void sb_cpu_from_f32(void *dst, sb_dtype dst_dtype, const float *src, size_t count);
/* *out = operands x [count] as floats: x itself, or a copy that is good until the next use of
 * SB_CPU_SLOT_A. */
sb_status sb_cpu_floats(sb_backend *, const void *x, size_t count, const float **out);

/* ---- cpu_gather.c ---- */
sb_status sb_cpu_gather_matrix(sb_backend *, sb_stream, void *dst, const void *src, sb_dtype dtype,
                               size_t rows, size_t cols, const uint32_t *row_from,
                               const uint32_t *col_from);

/* ---- cpu_gemm.c ---- */
sb_status sb_cpu_gemm(sb_backend *, sb_stream, bool trans_a, bool trans_b, size_t m, size_t n,
                      size_t k, float alpha, const void *a, sb_dtype a_dtype, size_t lda,
                      const void *b, sb_dtype b_dtype, size_t ldb, float beta, void *c,
                      sb_dtype c_dtype, size_t ldc);

/* ---- the parts of a decoder layer ---- */
sb_status sb_cpu_rmsnorm(sb_backend *, sb_stream, void *y, float *rstd, const void *x,
                         const float *w, size_t T, size_t h, float eps);
sb_status sb_cpu_rmsnorm_back(sb_backend *, sb_stream, void *dx, float *dw, const void *dy,
                              const void *x, const float *w, const float *rstd, size_t T, size_t h);
sb_status sb_cpu_rope(sb_backend *, sb_stream, void *x, const float *cos_sin, size_t T,
                      size_t heads, size_t head_dim, bool inverse);
sb_status sb_cpu_attention(sb_backend *, sb_stream, void *o, float *lse, const void *q,
                           const void *k, const void *v, size_t T, size_t heads, size_t kv_heads,
                           size_t d);
sb_status sb_cpu_attention_back(sb_backend *, sb_stream, void *dq, void *dk, void *dv,
                                const void *d_o, const void *o, const float *lse, const void *q,
                                const void *k, const void *v, size_t T, size_t heads,
                                size_t kv_heads, size_t d);
sb_status sb_cpu_swiglu(sb_backend *, sb_stream, void *y, const void *gate, const void *up,
                        size_t n);
sb_status sb_cpu_swiglu_back(sb_backend *, sb_stream, void *dgate, void *dup, void *y,
                             const void *dy, const void *gate, const void *up, size_t n);
sb_status sb_cpu_add(sb_backend *, sb_stream, void *y, const void *x, size_t n);

/* ---- the ends of the model ---- */
sb_status sb_cpu_embed(sb_backend *, sb_stream, void *x, const uint32_t *ids, const void *table,
                       sb_dtype table_dtype, size_t T, size_t h, size_t v0, size_t nv);
sb_status sb_cpu_embed_back(sb_backend *, sb_stream, float *dtable, const uint32_t *ids,
                            const void *dx, size_t T, size_t h, size_t v0, size_t nv);
sb_status sb_cpu_xent_begin(sb_backend *, sb_stream, float *row_max, float *row_sum,
                            float *target_logit, uint32_t *argmax, size_t T);
sb_status sb_cpu_xent_chunk(sb_backend *, sb_stream, float *row_max, float *row_sum,
                            float *target_logit, uint32_t *argmax, const float *logits,
                            const uint32_t *targets, size_t T, size_t v0, size_t nv);
sb_status sb_cpu_xent_end(sb_backend *, sb_stream, float *lse, double *nll, const float *row_max,
                          const float *row_sum, const float *target_logit, const uint32_t *targets,
                          size_t T);
sb_status sb_cpu_xent_back_chunk(sb_backend *, sb_stream, float *logits, const float *lse,
                                 const uint32_t *targets, float scale, size_t T, size_t v0,
                                 size_t nv);
sb_status sb_cpu_kl_chunk(sb_backend *, sb_stream, double *kl, const float *ref_logits,
                          const float *ref_lse, const float *logits, const float *lse, size_t T,
                          size_t nv);
sb_status sb_cpu_kl_end(sb_backend *, sb_stream, double *kl, const float *lse, const float *ref_lse,
                        const uint32_t *targets, size_t T);
sb_status sb_cpu_kl_back_chunk(sb_backend *, sb_stream, float *logits, const float *lse,
                               const float *ref_logits, const float *ref_lse,
                               const uint32_t *targets, float scale, size_t T, size_t nv);

/* ---- sums of second moments, and their factors: cpu_moments.c, cpu_factor.c ---- */
sb_status sb_cpu_add_grams(sb_backend *, sb_stream, int64_t *sums, const void *x, size_t tokens,
                           size_t cols, size_t block_cols, int exponent);
sb_status sb_cpu_add_squares(sb_backend *, sb_stream, int64_t *sums, const void *y, size_t tokens,
                             size_t cols, int exponent);
sb_status sb_cpu_group_products(sb_backend *, sb_stream, float *out, const float *g, size_t ldg,
                                const void *w, sb_dtype w_dtype, const sb_tiling *);
sb_status sb_cpu_add_multiples(sb_backend *, sb_stream, int64_t *sums, const float *x, size_t count,
                               double quantum, bool reversed);
sb_status sb_cpu_factor_moments(sb_backend *, sb_stream, sb_factor_job *jobs, size_t count);

/* ---- quantization: cpu_quantize.c, cpu_moves.c, cpu_channels.c, cpu_squares.c, cpu_curvature.c,
 * cpu_round.c, cpu_refine.c, cpu_unpack.c ---- */
sb_status sb_cpu_fit_blocks(sb_backend *, sb_stream, uint8_t *fits, const void *w, sb_dtype w_dtype,
                            const float *importance, const sb_tiling *, const uint8_t *bits,
                            sb_symmetry);
sb_status sb_cpu_quantize_blocks(sb_backend *, sb_stream, void *out, sb_dtype out_dtype,
                                 const void *w, sb_dtype w_dtype, const sb_tiling *,
                                 const uint8_t *bits, sb_symmetry, const uint8_t *fits);
sb_status sb_cpu_move_grids(sb_backend *, sb_stream, sb_stored_grid *grids, const void *w,
                            sb_dtype w_dtype, const sb_tiling *, const uint8_t *bits, sb_symmetry,
                            const float *importance, const uint8_t *fits);
sb_status sb_cpu_block_moves(sb_backend *, sb_stream, double *raise, double *cut, const float *g,
                             size_t ldg, const void *w, sb_dtype w_dtype, const void *now,
                             sb_dtype now_dtype, const sb_stored_grid *grids, const sb_tiling *,
                             const uint8_t *bits, unsigned min_bits, unsigned max_bits,
                             sb_symmetry);
sb_status sb_cpu_channel_scores(sb_backend *, sb_stream, double *rows, double *cols, const float *g,
                                size_t ldg, const void *w, sb_dtype w_dtype, const sb_tiling *,
                                const uint8_t *bits, bool absolute, sb_symmetry,
                                const uint8_t *fits);
sb_status sb_cpu_choose_grids(sb_backend *, sb_stream, sb_stored_grid *grids, const void *w,
                              sb_dtype w_dtype, const sb_tiling *, unsigned min_bits,
                              unsigned max_bits, sb_symmetry, const float *importance);
sb_status sb_cpu_block_squares(sb_backend *, sb_stream, double (*loss)[SB_WIDTHS], const float *g,
                               size_t ldg, const void *w, sb_dtype w_dtype,
                               const sb_stored_grid *grids, const sb_tiling *, unsigned min_bits,
                               unsigned max_bits);
sb_status sb_cpu_block_curvature(sb_backend *, sb_stream, double (*loss)[SB_WIDTHS],
                                 const float *grams, const float *row_weights, const void *w,
                                 sb_dtype w_dtype, const sb_tiling *, size_t first, size_t count,
                                 unsigned min_bits, unsigned max_bits, sb_symmetry,
                                 const float *importance);
sb_status sb_cpu_round_columns(sb_backend *, sb_stream, const sb_stack *, float *w, size_t begin,
                               size_t end, const float *panel, size_t ld, bool fitted);
sb_status sb_cpu_refine_residual(sb_backend *, sb_stream, const sb_stack *, float *residual,
                                 const float *w, size_t begin, size_t end, const float *panel);
sb_status sb_cpu_refine_columns(sb_backend *, sb_stream, const sb_stack *, float *residual,
                                size_t begin, size_t end, const float *panel);
sb_status sb_cpu_unpack_blocks(sb_backend *, sb_stream, void *out, sb_dtype out_dtype,
                               const uint8_t *packed, const size_t *offsets, const sb_tiling *,
                               const uint8_t *bits, sb_symmetry);

/* ---- multiplication with packed weights: cpu_packed.c ---- */
sb_status sb_cpu_packed_create(sb_backend *, sb_stream, const uint8_t *packed,
                               const size_t *offsets, const sb_tiling *, const uint8_t *bits,
                               sb_symmetry, sb_packed *out);
void sb_cpu_packed_destroy(sb_backend *, sb_packed);
sb_status sb_cpu_packed_gemm(sb_backend *, sb_stream, void *y, const void *x, size_t T, sb_packed w,
                             bool add);

#endif
