/* What one call of a layer is made of (its weights, its sequence, who listens), and the steps that
 * attention and MLP share: products that tell the listeners their factors. All functions are local
 * and queue on the call's stream; all data is device memory. */
#ifndef SB_PASS_LAYER_CALL_H
#define SB_PASS_LAYER_CALL_H

#include <stddef.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "model/arch.h"
#include "model/config.h"
#include "pass/product.h"

/* A layer's parameters on the device. Owned by whoever prepared them. */
typedef struct sb_layer_weights {
  sb_product linear[SB_LINEARS];
  const float *attention_norm_dev; /* [hidden] */
  const float *mlp_norm_dev;       /* [hidden] */
} sb_layer_weights;

/* Who listens to the matrices. Each function may be NULL. What they get is operands on the device,
 * rows and columns in the matrix's stored order, valid for what they queue on `stream`. */
typedef struct sb_layer_hooks {
  void *context;
  /* Forward passes: the input x [T, cols] of the matrices that share it, before they are applied.
   * `first` is SB_LINEAR_Q (for Q, K, V), SB_LINEAR_O, SB_LINEAR_GATE (for gate, up) or
   * SB_LINEAR_DOWN. */
  sb_status (*input)(void *context, sb_stream stream, sb_linear first, const void *x);
  /* Backward passes, in the order down, gate, up, o, q, k, v. The two factors of a matrix's
   * gradient before it is made: its input x [T, cols] and dy = dL/d(x W') [T, rows]. */
  sb_status (*factors)(void *context, sb_stream stream, sb_linear which, const void *x,
                       const void *dy);
  /* The gradient g = dy' x, f32 [rows, cols], which the next matrix overwrites. Where this is NULL
   * the product is not made. */
  sb_status (*gradient)(void *context, sb_stream stream, sb_linear which, const float *g);
} sb_layer_hooks;

/* One sequence through one layer. */
typedef struct sb_layer_call {
  sb_backend *backend;
  sb_stream stream;
  const sb_config *config;
  const sb_layer_weights *weights;
  const float *cos_sin_dev;    /* f32 [T, head_dim / 2, 2] (model/rope_table.h) */
  size_t T;                    /* tokens */
  const sb_layer_hooks *hooks; /* NULL: nobody listens */
} sb_layer_call;

/* A call with the scratch that its products use: what attention and MLP get. */
typedef struct sb_layer_step {
  const sb_layer_call *call;
  sb_product_scope scope;
  const sb_layer_hooks *forward_hooks; /* of inputs; NULL while a backward pass recomputes */
  float *g_dev;                        /* gradient of the largest matrix; NULL in forward passes */
} sb_layer_step;

static inline const sb_product *sb_step_product(const sb_layer_step *step, sb_linear which) {
  return &step->call->weights->linear[which];
}
/* y = x W' (+ y where `add`). */
sb_status sb_step_forward(const sb_layer_step *step, sb_linear which, void *y, const void *x,
                          bool add);
/* dx = dy W (+ dx where `add`). */
sb_status sb_step_backward(const sb_layer_step *step, sb_linear which, void *dx, const void *dy,
                           bool add);
/* Tells the input hook x, the input of `first` and those that share it. */
sb_status sb_step_observe(const sb_layer_step *step, sb_linear first, const void *x);
/* Tells the hooks the factors dy and x of a matrix's gradient, and the gradient. */
sb_status sb_step_gradient(const sb_layer_step *step, sb_linear which, const void *dy,
                           const void *x);
/* *x [T, width] of activations, as operands: converted into `room` where these are another type. */
sb_status sb_step_as_operand(const sb_layer_step *step, const void **x, void *room, size_t width);
/* Where operands that replace activations go: `same` where both have one type, else `other`. */
void *sb_step_operand_room(const sb_layer_step *step, void *same, void *other);

#endif
