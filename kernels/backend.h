/* The table of operations a device offers: the only way model/, quant/ and sensitivity/ reach the
 * hardware.
 *
 * Memory. `alloc` returns device memory (on the CPU: host memory). Pointers called "device" below
 * come from `alloc`; host pointers come from anywhere, but transfers from `host_alloc` memory are
 * the fast ones. On a backend with `unified` set, host and device memory are the same and
 * `upload`/`download` between equal pointers cost nothing.
 *
 * Asynchrony. Operations run in the order of their stream and may return before they are done;
 * `stream` NULL is the backend's default stream. Errors of the device surface at `sync`, or at any
 * later call. The CPU backend is synchronous. A backend is used by one thread at a time; inside, it
 * may use OpenMP threads.
 *
 * Element types. Activations are of type `act`; what products with weights are made of, that is
 * weights prepared for GEMM, the inputs of matrices and the gradients at their outputs, of type
 * `operand`; what is called f32 is float whatever the backend. All matrices are row-major and
 * contiguous unless a leading dimension is given; T is the number of tokens of ONE sequence. Shapes
 * are in elements.
 *
 * Determinism. Every operation gives the same bits for the same input on the same device, whatever
 * the number of threads and whatever other sequences are processed before or after it. Rank-count
 * invariance of the whole program rests on this.
 *
 * Convention. "=" overwrites, "+=" adds to what is there. Any output may be the same buffer as an
 * input only where "in place" is said. All functions are local and return SB_OK or an error with
 * its message set. */
#ifndef SB_KERNELS_BACKEND_H
#define SB_KERNELS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/device.h"
#include "base/dtype.h"
#include "base/status.h"
#include "kernels/factor.h"

typedef struct sb_backend sb_backend;
typedef struct sb_stream_impl *sb_stream;

/* Geometry of a matrix cut into blocks: rows x cols elements in blocks of block_rows x block_cols,
 * the last ones possibly smaller. Block (i, j) has index i * grid_cols + j. */
typedef struct sb_tiling {
  size_t rows, cols;
  size_t block_rows, block_cols;
} sb_tiling;

SB_HOST_DEVICE static inline size_t
sb_tiling_block_rows(const sb_tiling *g) { /* number of block rows */
  return (g->rows + g->block_rows - 1) / g->block_rows;
}
SB_HOST_DEVICE static inline size_t
sb_tiling_block_cols(const sb_tiling *g) { /* number of block columns */
  return (g->cols + g->block_cols - 1) / g->block_cols;
}

/* Rows of the blocks of block row i, columns of those of block column j. */
SB_HOST_DEVICE static inline size_t sb_tiling_rows_of(const sb_tiling *g, size_t i) {
  size_t first = i * g->block_rows;
  return g->rows - first < g->block_rows ? g->rows - first : g->block_rows;
}
SB_HOST_DEVICE static inline size_t sb_tiling_cols_of(const sb_tiling *g, size_t j) {
  size_t first = j * g->block_cols;
  return g->cols - first < g->block_cols ? g->cols - first : g->block_cols;
}

/* Block-diagonal second moments of `cols` numbers: for every block column the lower triangle, row
 * by row, of a square matrix as wide as the block. Here is their number, and where those of block
 * column j begin. */
SB_HOST_DEVICE static inline size_t sb_grams_start(size_t block_cols, size_t j) {
  return j * (block_cols * (block_cols + 1) / 2);
}
SB_HOST_DEVICE static inline size_t sb_grams_count(size_t cols, size_t block_cols) {
  const size_t last = cols % block_cols;
  return sb_grams_start(block_cols, cols / block_cols) + last * (last + 1) / 2;
}

enum { SB_WIDTHS = 9 }; /* 0 (unquantized) to 8 bits: a table over widths is indexed by the width */

/* Devices of other processes that a device exchanges data with by itself, without their hosts:
 * those of this node, and all of the run. */
typedef enum sb_peers { SB_PEERS_NODE, SB_PEERS_ALL, SB_PEER_GROUPS } sb_peers;
/* What the first of them hands to the others, so that they find each other. */
typedef struct sb_peers_token {
  char bytes[128];
} sb_peers_token;

/* A group's grid as files keep it: three fp16 numbers (kernels/grid.h). */
typedef struct sb_stored_grid {
  uint16_t scale, center, base;
} sb_stored_grid;
enum { SB_MOVES = 3 }; /* widths of move_grids: one bit less, as it is, one more */

/* A packed matrix made ready for multiplication: what packed_create gives. */
typedef struct sb_packed_impl *sb_packed;

/* How a group (one row of one block) is coded; see kernels/grid.h. */
typedef enum sb_symmetry { SB_ASYMMETRIC = 0, SB_SYMMETRIC = 1 } sb_symmetry;

/* Block rows of matrices that share their inputs, one under another, on their way to codes. Each
 * row of a block is a group. */
typedef struct sb_stack {
  size_t rows, cols, block_cols;
  size_t count;         /* block rows */
  const size_t *starts; /* host [count + 1]: where each begins, and `rows` */
  sb_symmetry symmetry;
  const uint8_t *bits; /* [block columns, rows], on the device: the width of each group, 1 .. 8 */
  struct sb_group *groups; /* [block columns, rows], on the device: kernels/grid.h */
  uint8_t *codes;          /* [rows, cols], on the device */
} sb_stack;

typedef struct sb_backend_ops {
  /* ---- memory, streams, transfers ---- */
  sb_status (*alloc)(sb_backend *, size_t bytes, const char *what, void **device);
  void (*free)(sb_backend *, void *device);
  sb_status (*host_alloc)(sb_backend *, size_t bytes, const char *what,
                          void **host); /* pinned where that exists */
  void (*host_free)(sb_backend *, void *host);
  /* Host memory that came from elsewhere and is there until host_unpin: transfers from it become
   * fast ones, which do not hold up the caller. SB_ERR_DEVICE where the system does not allow it:
   * nothing is lost but speed. */
  sb_status (*host_pin)(sb_backend *, void *host, size_t bytes);
  void (*host_unpin)(sb_backend *, void *host);
  sb_status (*upload)(sb_backend *, sb_stream, void *device, const void *host, size_t bytes);
  sb_status (*download)(sb_backend *, sb_stream, void *host, const void *device, size_t bytes);
  sb_status (*copy)(sb_backend *, sb_stream, void *device_dst, const void *device_src,
                    size_t bytes);
  sb_status (*zero)(sb_backend *, sb_stream, void *device, size_t bytes);
  sb_status (*stream_create)(sb_backend *, sb_stream *);
  void (*stream_destroy)(sb_backend *, sb_stream);
  sb_status (*stream_wait)(sb_backend *, sb_stream waiter,
                           sb_stream waited); /* all queued so far on `waited` */
  sb_status (*sync)(sb_backend *, sb_stream);
  void (*destroy)(sb_backend *);

  /* ---- devices of other processes ----
   * peers_join makes a group of `size` devices, one a process, from a token that its first one made
   * by peers_token; collective among them, and a device has one group of a kind at most.
   * SB_ERR_UNSUPPORTED, saying why, where devices do not do that: all goes on without. What is
   * collective below is so among the group's processes, in stream order, and devices wait for each
   * other there: none may come without the others (mpi/world.h: sb_world_lockstep). */
  sb_status (*peers_token)(sb_backend *,
                           sb_peers_token *token); /* NULL: only whether there could be one */
  sb_status (*peers_join)(sb_backend *, sb_peers kind, const sb_peers_token *token, int rank,
                          int size);
  /* upload, of the same bytes to all devices of a node, which have sb_shared_room(b, bytes) of room
   * each: every one copies its share from its host, and gets the others' from the other devices.
   * Collective where peers[SB_PEERS_NODE] > 1. */
  sb_status (*upload_shared)(sb_backend *, sb_stream, void *device, const void *host, size_t bytes);
  /* sums[i] = the sum of all devices' sums[i], modulo 2^64. Collective; peers[SB_PEERS_ALL] > 1. */
  sb_status (*sum_i64)(sb_backend *, sb_stream, int64_t *sums, size_t count);

  /* dst = (dst_dtype) src; f32, f16, bf16 */
  sb_status (*convert)(sb_backend *, sb_stream, void *dst, sb_dtype dst_dtype, const void *src,
                       sb_dtype src_dtype, size_t count);

  /* dst[i,j] = src[row_from[i], col_from[j]] for matrices [rows,cols] of f32, f16 or bf16; an index
   * (u32, on the device, in range) that is NULL leaves its dimension as it is. */
  sb_status (*gather_matrix)(sb_backend *, sb_stream, void *dst, const void *src, sb_dtype dtype,
                             size_t rows, size_t cols, const uint32_t *row_from,
                             const uint32_t *col_from);

  /* C[m,n] = alpha op(A) op(B) + beta C; op is transposition where asked: A is [m,k], or [k,m] when
   * trans_a; B is [k,n], or [n,k] when trans_b. lda, ldb, ldc are row lengths in memory.
   * Accumulation in f32. */
  sb_status (*gemm)(sb_backend *, sb_stream, bool trans_a, bool trans_b, size_t m, size_t n,
                    size_t k, float alpha, const void *a, sb_dtype a_dtype, size_t lda,
                    const void *b, sb_dtype b_dtype, size_t ldb, float beta, void *c,
                    sb_dtype c_dtype, size_t ldc);

  /* ---- the parts of a decoder layer ---- */
  /* y[T,h] = x / rms(x) * w, y an operand; rstd[T] = 1 / rms(x) (f32); w is f32[h]. */
  sb_status (*rmsnorm)(sb_backend *, sb_stream, void *y, float *rstd, const void *x, const float *w,
                       size_t T, size_t h, float eps);
  /* dx[T,h] += ..., dw[h] (f32) += ... where dw is not NULL. */
  sb_status (*rmsnorm_back)(sb_backend *, sb_stream, void *dx, float *dw, const void *dy,
                            const void *x, const float *w, const float *rstd, size_t T, size_t h);
  /* Rotary embedding in place on x[T, heads * head_dim], Hugging Face's half-split pairs (i, i +
   * head_dim/2), token t at position t. cos_sin is f32[T, head_dim/2, 2] on the device. `inverse`
   * rotates back (the backward pass). */
  sb_status (*rope)(sb_backend *, sb_stream, void *x, const float *cos_sin, size_t T, size_t heads,
                    size_t head_dim, bool inverse);
  /* Grouped-query causal attention, memory linear in T. q, o: [T, heads * d]; k, v: [T, kv_heads *
   * d]; lse: f32 [heads, T], the log-sum-exp of each row's scaled scores. Scores are scaled by
   * 1/sqrt(d). */
  sb_status (*attention)(sb_backend *, sb_stream, void *o, float *lse, const void *q, const void *k,
                         const void *v, size_t T, size_t heads, size_t kv_heads, size_t d);
  /* dq, dk, dv = ... */
  sb_status (*attention_back)(sb_backend *, sb_stream, void *dq, void *dk, void *dv,
                              const void *d_o, const void *o, const float *lse, const void *q,
                              const void *k, const void *v, size_t T, size_t heads, size_t kv_heads,
                              size_t d);
  /* y[n] = silu(gate) * up, an operand; y may be gate or up (in place) where that is the type of
   * activations too. */
  sb_status (*swiglu)(sb_backend *, sb_stream, void *y, const void *gate, const void *up, size_t n);
  /* dgate, dup = ..., and y[n] = silu(gate) * up where y is not NULL: operands; each of them may be
   * gate, up or dy (in place) where that is the type of activations too. */
  sb_status (*swiglu_back)(sb_backend *, sb_stream, void *dgate, void *dup, void *y, const void *dy,
                           const void *gate, const void *up, size_t n);
  /* y[n] += x[n] */
  sb_status (*add)(sb_backend *, sb_stream, void *y, const void *x, size_t n);

  /* ---- the ends of the model, in chunks of the vocabulary [v0, v0 + nv) ---- */
  /* x[t] = table[ids[t] - v0] for the tokens whose id lies in the chunk; other rows of x are left
   * alone. */
  sb_status (*embed)(sb_backend *, sb_stream, void *x, const uint32_t *ids, const void *table,
                     sb_dtype table_dtype, size_t T, size_t h, size_t v0, size_t nv);
  /* dtable[nv,h] (f32) += rows of dx */
  sb_status (*embed_back)(sb_backend *, sb_stream, float *dtable, const uint32_t *ids,
                          const void *dx, size_t T, size_t h, size_t v0, size_t nv);
  /* Online soft-max over the chunks, in three steps. First: row_max[T] = -inf; row_sum[T],
   * target_logit[T] and argmax[T] = 0. argmax may be NULL here and in the next step. */
  sb_status (*xent_begin)(sb_backend *, sb_stream, float *row_max, float *row_sum,
                          float *target_logit, uint32_t *argmax, size_t T);
  /* Then, for each chunk: row_max and row_sum (sum of exp(logit - row_max)) are updated with its
   * logits f32[T,nv]; target_logit[t] = logits[t, targets[t] - v0] where the target lies in the
   * chunk; argmax and row_max follow the first largest logit. */
  sb_status (*xent_chunk)(sb_backend *, sb_stream, float *row_max, float *row_sum,
                          float *target_logit, uint32_t *argmax, const float *logits,
                          const uint32_t *targets, size_t T, size_t v0, size_t nv);
  /* After the last chunk, with L = row_max[t] + log(row_sum[t]) in double: lse[t] = L, rounded to
   * f32, and nll[t] (double) = L - target_logit[t], the negative log-likelihood of the target; 0
   * where the target is SB_NO_TARGET. */
  sb_status (*xent_end)(sb_backend *, sb_stream, float *lse, double *nll, const float *row_max,
                        const float *row_sum, const float *target_logit, const uint32_t *targets,
                        size_t T);
  /* In place: logits[t,j] = scale * (exp(logits[t,j] - lse[t]) - [v0 + j == targets[t]]); rows
   * whose target is SB_NO_TARGET become 0. */
  sb_status (*xent_back_chunk)(sb_backend *, sb_stream, float *logits, const float *lse,
                               const uint32_t *targets, float scale, size_t T, size_t v0,
                               size_t nv);
  /* kl[t] (double) += sum_j p_ref (log p_ref - log p), with log p = logits - lse, for this chunk.
   */
  sb_status (*kl_chunk)(sb_backend *, sb_stream, double *kl, const float *ref_logits,
                        const float *ref_lse, const float *logits, const float *lse, size_t T,
                        size_t nv);
  /* What kl lacks where kl_chunk was given ref_lse in place of lse, which is not known before the
   * last chunk: kl[t] (double) += lse[t] - ref_lse[t]; kl[t] = 0 where the target is SB_NO_TARGET.
   */
  sb_status (*kl_end)(sb_backend *, sb_stream, double *kl, const float *lse, const float *ref_lse,
                      const uint32_t *targets, size_t T);
  /* In place: logits[t,j] = scale * (p - p_ref), the gradient of scale * kl[t] with respect to the
   * logits, for this chunk; rows whose target is SB_NO_TARGET become 0. */
  sb_status (*kl_back_chunk)(sb_backend *, sb_stream, float *logits, const float *lse,
                             const float *ref_logits, const float *ref_lse, const uint32_t *targets,
                             float scale, size_t T, size_t nv);

  /* ---- quantization: kernels/grid.h defines the grids ----
   * Shapes, `bits` (one byte a block of the matrix) and `offsets` are host memory, read before the
   * call returns; all else is on the device. */
  /* fits[r * block columns + j] = the fit of row r's group in block column j at the block's width;
   * 0 where bits is 0. importance is f32[cols]. */
  sb_status (*fit_blocks)(sb_backend *, sb_stream, uint8_t *fits, const void *w, sb_dtype w_dtype,
                          const float *importance, const sb_tiling *, const uint8_t *bits,
                          sb_symmetry);
  /* out[rows,cols] (out_dtype) = Q_b(w), each block at its bits[block]; 0 bits means unquantized (a
   * plain copy). fits: what fit_blocks gave, or NULL for ranges as they are. */
  sb_status (*quantize_blocks)(sb_backend *, sb_stream, void *out, sb_dtype out_dtype,
                               const void *w, sb_dtype w_dtype, const sb_tiling *,
                               const uint8_t *bits, sb_symmetry, const uint8_t *fits);
  /* grids[SB_MOVES * (r * block columns + j) + i] = the grid of row r's group in block column j at
   * one bit less than the block's width (i = 0), at the width, at one more; those outside 1 .. 8
   * are left alone, and all of blocks of 0 bits. Fitted where importance f32[cols] and fits, what
   * fit_blocks gave, are not NULL. */
  sb_status (*move_grids)(sb_backend *, sb_stream, sb_stored_grid *grids, const void *w,
                          sb_dtype w_dtype, const sb_tiling *, const uint8_t *bits, sb_symmetry,
                          const float *importance, const uint8_t *fits);
  /* For every block k at b = bits[k]: raise[k] = <g, Q_{b+1}(w) - Q_b(w)>, cut[k] = <g, Q_{b-1}(w)
   * - Q_b(w)> (double); 0 where b+1 > max_bits or b-1 < min_bits. One pass over g and w. g is
   * f32[rows, cols] with row length ldg; where now is not NULL it is taken in place of Q_b(w)
   * (codes that are not the nearest ones), type now_dtype. grids: as move_grids left them for these
   * weights and bits. */
  sb_status (*block_moves)(sb_backend *, sb_stream, double *raise, double *cut, const float *g,
                           size_t ldg, const void *w, sb_dtype w_dtype, const void *now,
                           sb_dtype now_dtype, const sb_stored_grid *grids, const sb_tiling *,
                           const uint8_t *bits, unsigned min_bits, unsigned max_bits, sb_symmetry);
  /* What rounding does by channel, for choosing orders: rows[i] = sum over j of s(i, j), cols[j] =
   * sum over i of s(i, j) (double), with s = (g d)^2, or |g d| where `absolute`, and d = Q_b(w) - w
   * at b = bits[block]. One pass over g and w; g is f32[rows, cols] with row length ldg, fits as in
   * quantize_blocks. */
  sb_status (*channel_scores)(sb_backend *, sb_stream, double *rows, double *cols, const float *g,
                              size_t ldg, const void *w, sb_dtype w_dtype, const sb_tiling *,
                              const uint8_t *bits, bool absolute, sb_symmetry, const uint8_t *fits);
  /* out[r * block columns + j] (f32) = the sum over the columns c of block column j of g[r][c]
   * w[r][c]: how the loss moves when all weights of a group grow by the same share. g is f32[rows,
   * cols] with row length ldg. */
  sb_status (*group_products)(sb_backend *, sb_stream, float *out, const float *g, size_t ldg,
                              const void *w, sb_dtype w_dtype, const sb_tiling *);
  /* For every block k and every width b in min_bits .. max_bits: loss[k][b] = sum over the block's
   * weights of g^2 (Q_b(w) - w)^2; other widths are left alone. grids: as choose_grids left them
   * for these weights and widths. */
  sb_status (*block_squares)(sb_backend *, sb_stream, double (*loss)[SB_WIDTHS], const float *g,
                             size_t ldg, const void *w, sb_dtype w_dtype,
                             const sb_stored_grid *grids, const sb_tiling *, unsigned min_bits,
                             unsigned max_bits);
  /* grids[(r * block columns + j) * widths + b - min_bits] = the grid of row r's group in block
   * column j at b bits. Here and in block_curvature, importance f32[cols] asks for fitted grids,
   * NULL for plain ones. */
  sb_status (*choose_grids)(sb_backend *, sb_stream, sb_stored_grid *grids, const void *w,
                            sb_dtype w_dtype, const sb_tiling *, unsigned min_bits,
                            unsigned max_bits, sb_symmetry, const float *importance);
  /* For the `count` block rows from `first` on, in order, and every width b in min_bits ..
   * max_bits: loss[k][b] = sum over the block's rows r of row_weights[r] e_r H_j e_r' with e_r =
   * (Q_b(w) - w)_r; other widths are left alone. grams holds the H_j [n, n], n the columns of block
   * column j, full and one after another from j * block_cols^2 on. */
  sb_status (*block_curvature)(sb_backend *, sb_stream, double (*loss)[SB_WIDTHS],
                               const float *grams, const float *row_weights, const void *w,
                               sb_dtype w_dtype, const sb_tiling *, size_t first, size_t count,
                               unsigned min_bits, unsigned max_bits, sb_symmetry,
                               const float *importance);
  /* Exact sums: sums is int64 [.., 2] on the device, the two limbs of mpi/exact.h, normalised. What
   * one call adds to an item is a number of x alone, times 2^exponent, rounded once to a multiple
   * of 2^-80; so the order of calls does not matter. SB_ERR_NUMERIC, from the call or from the next
   * sync, for NaN, infinity and sums beyond 2^30; the sums are then unspecified.
   *
   * sums[sb_grams_count(cols, block_cols)] += X_j' X_j of every block column j of x[tokens, cols],
   * type `operand`. */
  sb_status (*add_grams)(sb_backend *, sb_stream, int64_t *sums, const void *x, size_t tokens,
                         size_t cols, size_t block_cols, int exponent);
  /* sums[cols] += sum over tokens of y[t][c]^2; y is of type `operand`. */
  sb_status (*add_squares)(sb_backend *, sb_stream, int64_t *sums, const void *y, size_t tokens,
                           size_t cols, int exponent);

  /* Sums of whole multiples of a quantum, a power of two: sums[k] += x[k] / quantum, rounded; of
   * x[count - 1 - k] where `reversed`. SB_ERR_NUMERIC, from the call or from the next sync, where
   * one is 2^50 or more, or no number. */
  sb_status (*add_multiples)(sb_backend *, sb_stream, int64_t *sums, const float *x, size_t count,
                             double quantum, bool reversed);
  /* The factors of `count` jobs: kernels/factor.h. What became of each is in the job; an error is
   * one of the device or its memory. Waits. Memory for one after the other (CPU: for as many as
   * there are threads) another 8 n^2 bytes. O(n^3). */
  sb_status (*factor_moments)(sb_backend *, sb_stream, sb_factor_job *jobs, size_t count);

  /* ---- rounding by second moments ----
   * Of a matrix H [cols, cols] that is the same for all rows of a stack, rows [begin, end) come at
   * a time, as `panel`, on the device; begin and end are bounds of blocks. A row's result depends
   * on its block row alone, on the CPU; where products are those of a library that looks at the
   * number of rows, on all of the stack.
   *
   * Error-compensated rounding (GPTQ, arXiv 2210.17323; the same as LDLQ of QuIP, arXiv
   * 2307.13304): Q for W so that (W - Q) H (W - Q)' is small. Column after column, the error made
   * in one is taken back in those still to come. H is that of a factor, upper triangular, factor'
   * factor = H^-1; element (r, c) of it, c >= begin, is panel[(r - begin) * ld + c - begin]. A
   * group's grid is chosen when its first column is reached, from the weights as they are corrected
   * by then; where `fitted`, its range is shrunk for the least sum of importance x (rounding
   * error)^2, the importance of column c being 1 / factor[c][c]^2: what an error there costs after
   * all corrections. groups and codes of the columns are written; w [rows, cols] holds what is left
   * to round: those before `begin` have been done. O(rows (end - begin) cols). */
  sb_status (*round_columns)(sb_backend *, sb_stream, const sb_stack *, float *w, size_t begin,
                             size_t end, const float *panel, size_t ld, bool fitted);
  /* Coordinate descent on the same error, once there are codes. With E = Q - W and R = E H, moving
   * row r of Q by d along a vector v of columns changes its error by 2 d v R_r' + d^2 v H v'. So
   * all else as it is, the best value of one element is Q_rc - R_rc / H_cc, and the level nearest
   * to that its best code; and a group's scale has a best value, along the vector of its codes less
   * their center, and the base of an asymmetric 1-bit group one along ones. (Descent over codes:
   * QuantEase, arXiv 2309.01885.) panel [end - begin, cols] has rows of H itself, symmetric and
   * positive definite.
   *
   * residual [rows, cols] += (Q - W)[:, begin .. end) panel, w being the matrix that was rounded.
   */
  sb_status (*refine_residual)(sb_backend *, sb_stream, const sb_stack *, float *residual,
                               const float *w, size_t begin, size_t end, const float *panel);
  /* One pass over the columns [begin, end), in order, a group's scale and base before its codes;
   * what is stored keeps its size. The residual follows. The error never grows. O(rows (end -
   * begin) cols). */
  sb_status (*refine_columns)(sb_backend *, sb_stream, const sb_stack *, float *residual,
                              size_t begin, size_t end, const float *panel);
  /* out[rows,cols] = the packed block rows of kernels/blockrow.h, decoded; `offsets[i]` is the byte
   * offset of block row i in `packed`, which is device memory; offsets and bits are host memory and
   * not read after the call. */
  sb_status (*unpack_blocks)(sb_backend *, sb_stream, void *out, sb_dtype out_dtype,
                             const uint8_t *packed, const size_t *offsets, const sb_tiling *,
                             const uint8_t *bits, sb_symmetry);

  /* ---- multiplication with packed weights, which are never dequantized as a whole ---- */
  /* *out = the matrix of the packed block rows at `packed` (device memory, checked by
   * sb_blockrow_read_bits, read in place: it stays until packed_destroy). Any mix of widths 1..8,
   * any geometry that can be packed. offsets [block rows] and bits [blocks] are host memory and are
   * not read after the call; offsets need not be aligned. Cost and memory: O(blocks); nothing is
   * unpacked. */
  sb_status (*packed_create)(sb_backend *, sb_stream, const uint8_t *packed, const size_t *offsets,
                             const sb_tiling *, const uint8_t *bits, sb_symmetry, sb_packed *out);
  void (*packed_destroy)(sb_backend *, sb_packed); /* NULL is allowed */
  /* y[T,rows] = x[T,cols] W', or += where `add`; x an operand, y of type `act`, not overlapping,
   * any T >= 1. Products and sums in f32 at least, the sum of a row in an order of the backend's
   * own, so it equals gemm on unpack_blocks' weights to rounding: within a small multiple of f32's
   * epsilon times sum |x| (|w| + |lowest level of w's group|), besides y's own rounding. A device
   * that computes in bf16 rounds weights where it leaves many tokens to gemm. */
  sb_status (*packed_gemm)(sb_backend *, sb_stream, void *y, const void *x, size_t T, sb_packed w,
                           bool add);
} sb_backend_ops;

#define SB_NO_TARGET UINT32_MAX

struct sb_backend {
  const char *name; /* "cpu", "cuda" */
  sb_dtype act;     /* type of activations */
  sb_dtype operand; /* type of weights in GEMMs, and of what they are multiplied with */
  bool unified;     /* host and device memory are one */
  bool in_mpi; /* MPI takes pointers into device memory; a CUDA backend is told so by the program */
  size_t free_bytes; /* device memory free at creation; the program makes it what every rank has at
                        least */
  int peers[SB_PEER_GROUPS];     /* devices in the group of a kind; 0 where there is none */
  int peer_rank[SB_PEER_GROUPS]; /* which of them this one is */
  double gemm_flops;             /* FLOPs of all GEMMs so far: 2 m n k each */
  double gemm_seconds;           /* wall-clock seconds inside them (CPU; 0 where it would need a
                                    synchronisation) */
  const sb_backend_ops *op;
  void *impl;
};

/* Bytes of the share that each device of a node uploads of so many: all but the last ones the same.
 */
static inline size_t sb_shared_part(const sb_backend *b, size_t bytes) {
  const size_t devices = b->peers[SB_PEERS_NODE] > 1 ? (size_t)b->peers[SB_PEERS_NODE] : 1;
  return ((bytes + devices - 1) / devices + 15) / 16 * 16;
}
static inline size_t sb_shared_room(const sb_backend *b, size_t bytes) {
  return b->peers[SB_PEERS_NODE] > 1 ? sb_shared_part(b, bytes) * (size_t)b->peers[SB_PEERS_NODE]
                                     : bytes;
}

/* How GEMM operands are held. SB_COMPUTE_F32: everything f32. SB_COMPUTE_BF16: bf16 operands, f32
 * accumulation. */
typedef enum sb_compute { SB_COMPUTE_F32, SB_COMPUTE_BF16 } sb_compute;

/* The CPU backend; `threads` 0 takes OpenMP's default. SB_ERR_UNSUPPORTED when bf16 is asked of a
 * build without oneDNN. Release with op->destroy. */
sb_status sb_backend_cpu_create(sb_compute compute, int threads, sb_backend **out);

#endif
