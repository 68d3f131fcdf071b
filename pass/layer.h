/* One decoder layer of a Llama-family transformer on one sequence: forward, and backward with
 * recomputation.
 *
 *   n1 = rmsnorm(x) w1;  q, k, v = n1 Wq', n1 Wk', n1 Wv';  q, k = rope(q), rope(k);  o =
 * attention(q, k, v) x1 = x + o Wo';      n2 = rmsnorm(x1) w2;               y = x1 + (silu(n2 Wg')
 * * (n2 Wu')) Wd'
 *
 * Everything here is local, in device memory, in the order of one stream. T is the number of tokens
 * of the sequence; activations are of the backend's type `act`, weights, the inputs of matrices and
 * the gradients at their outputs of its type `operand` (kernels/backend.h): each is brought into it
 * once, where it is made. */
#ifndef SB_PASS_LAYER_H
#define SB_PASS_LAYER_H

#include <stddef.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "model/arch.h"
#include "model/config.h"

/* A layer's parameters on the device, ready for GEMM. Owned by whoever prepared them. */
typedef struct sb_layer_weights {
  const void
      *linear[SB_LINEARS];      /* [rows, cols], type `operand`; NULL where there is a packed one */
  sb_packed packed[SB_LINEARS]; /* forward only; its rows and columns are in the orders below; else
                                   NULL */
  const float *attention_norm;  /* [hidden] */
  const float *mlp_norm;        /* [hidden] */
  /* The order in which hooks get to see a matrix's rows and columns: position i is row
   * row_order[i]. NULL: as they are. What shares an input has one order of columns. */
  const uint32_t *row_order[SB_LINEARS], *col_order[SB_LINEARS];
  const uint32_t
      *row_place[SB_LINEARS]; /* the reverse of row_order: row i is at position row_place[i] */
} sb_layer_weights;

/* Scratch of one sequence through one layer; memory linear in T. */
typedef struct sb_layer_work sb_layer_work;

/* `with_backward` adds the buffers of the backward pass, among them one gradient of the largest
 * matrix (f32); `ordered` those that weights with orders need. */
sb_status sb_layer_work_create(sb_backend *backend, const sb_config *config, size_t T,
                               bool with_backward, bool ordered, sb_layer_work **out);
void sb_layer_work_free(sb_layer_work **work);
/* Device bytes that sb_layer_work_create takes of a backend with these types, without the gradient
 * of a matrix. */
size_t sb_layer_work_bytes(sb_dtype act, sb_dtype operand, const sb_config *config, size_t T,
                           bool with_backward, bool ordered);

/* Called with the input x [T, cols] of type `operand` of the matrices that share it, in their order
 * of columns, before they are applied: `first` is SB_LINEAR_Q (for Q, K, V), SB_LINEAR_O,
 * SB_LINEAR_GATE (for gate, up) or SB_LINEAR_DOWN. Queue on `stream` what reads x. */
typedef sb_status (*sb_input_hook)(void *context, sb_stream stream, sb_linear first, const void *x);

/* y[T, hidden] = layer(x[T, hidden]); y may be x. cos_sin: f32 [T, head_dim/2, 2]. */
sb_status sb_layer_forward(sb_backend *backend, sb_stream stream, const sb_config *config,
                           const sb_layer_weights *weights, const float *cos_sin,
                           sb_layer_work *work, void *y, const void *x, size_t T);
/* The same, telling the hook every input. */
sb_status sb_layer_forward_observed(sb_backend *backend, sb_stream stream, const sb_config *config,
                                    const sb_layer_weights *weights, const float *cos_sin,
                                    sb_layer_work *work, void *y, const void *x, size_t T,
                                    sb_input_hook hook, void *context);

/* What the backward pass tells about the matrices, in the order down, gate, up, o, q, k, v; rows
 * and columns are in the matrix's orders. A hook may be NULL. */
typedef struct sb_layer_hooks {
  void *context;
  /* The two factors of a matrix' gradient, before it is made: its input x [T, cols] and dy = dL/d(x
   * W') [T, rows], of type `operand`. Queue on `stream` what reads them. */
  sb_status (*factors)(void *context, sb_stream stream, sb_linear which, const void *x,
                       const void *dy);
  /* The gradient g = dy' x, f32 [rows, cols] on the device, overwritten by the next matrix: queue
   * on `stream` what reads it. Where this is NULL the product is not made. */
  sb_status (*gradient)(void *context, sb_stream stream, sb_linear which, const float *g);
} sb_layer_hooks;

/* Given dy = dL/dy [T, hidden] and the layer's input x, recomputes the layer and overwrites dy with
 * dL/dx. `hooks` may be NULL when only dL/dx is wanted. */
sb_status sb_layer_backward(sb_backend *backend, sb_stream stream, const sb_config *config,
                            const sb_layer_weights *weights, const float *cos_sin,
                            sb_layer_work *work, void *dy, const void *x, size_t T,
                            const sb_layer_hooks *hooks);

#endif
