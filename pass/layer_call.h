/* One call of a layer: its weights, its sequence and its listeners. Also the steps that attention
 * and MLP share: products that tell the listeners their factors. All functions are local and queue
 * on the call's stream; all data is device memory. */
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
  const sb_arch *arch;
  size_t layer;                           /* which this is */
  sb_product *products;                   /* its matrices, by number */
  const float *vector_dev[SB_ROLE_COUNT]; /* its vectors, by role; NULL for roles it has not */
} sb_layer_weights;

/* Listeners to the matrices. Each function may be NULL. They get operands on the device,
 * with rows and columns in the matrix's stored order, valid for the operations that they
 * queue on `stream`. */
typedef struct sb_layer_hooks {
  void *context;
  /* Forward passes: input number `input` of the layer, x [T, channels], before the matrices that
   * share it are applied. */
  sb_status (*input)(void *context, sb_stream stream, size_t input, const void *x);
  /* Backward passes, in the order down, gate, up, o, q, k, v; `matrix` is the number within the
   * layer. The two factors of a matrix's gradient before it is made: its input x [T, cols] and dy =
   * dL/d(x W') [T, rows]. */
  sb_status (*factors)(void *context, sb_stream stream, size_t matrix, const void *x,
                       const void *dy);
  /* The gradient g = dy' x, f32 [rows, cols], which the next matrix overwrites. Where this is NULL
   * the product is not made. */
  sb_status (*gradient)(void *context, sb_stream stream, size_t matrix, const float *g);
  /* The gradient of a norm's weights, f32 [hidden], which the next matrix overwrites: of
   * SB_ROLE_POST_NORM after gate and up, of SB_ROLE_INPUT_NORM after q, k and v. */
  sb_status (*norm)(void *context, sb_stream stream, sb_role norm, const float *g);
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
  /* Where products are emulated (pass/emulation.h). */
  sb_coded_room *coding;
  uint64_t key;
  size_t sequence; /* its number in the batch, of all ranks */
} sb_layer_call;

/* A call and the scratch that its products use, as attention and MLP get them. */
typedef struct sb_layer_step {
  const sb_layer_call *call;
  sb_product_scope scope;
  const sb_layer_hooks *forward_hooks; /* of inputs; NULL while a backward pass recomputes */
  float *g_dev;                        /* gradient of the largest matrix; NULL in forward passes */
} sb_layer_step;

/* Number of the layer's matrix of a role, which it has. */
size_t sb_layer_step_matrix(const sb_layer_step *step, sb_role role);
static inline const sb_product *sb_layer_step_product(const sb_layer_step *step, size_t matrix) {
  return &step->call->weights->products[matrix];
}
/* y = x W' (+ y where `add`). */
sb_status sb_layer_step_forward(const sb_layer_step *step, size_t matrix, void *y, const void *x,
                                bool add);
/* dx = dy W (+ dx where `add`). */
sb_status sb_layer_step_backward(const sb_layer_step *step, size_t matrix, void *dx, const void *dy,
                                 bool add);
/* Tells the input hook x, the input of the matrix and of those that share it. */
sb_status sb_layer_step_observe(const sb_layer_step *step, size_t matrix, const void *x);
/* Tells the hooks the factors dy and x of a matrix's gradient, and the gradient. */
sb_status sb_layer_step_gradient(const sb_layer_step *step, size_t matrix, const void *dy,
                                 const void *x);
/* *x [T, width] becomes the same values as operands: converted into `room` where activations are
 * another type. */
sb_status sb_layer_step_as_operand(const sb_layer_step *step, const void **x, void *room,
                                   size_t width);
/* Place of operands that replace activations: `same` where both have one type, else `other`. */
void *sb_layer_step_operand_room(const sb_layer_step *step, void *same, void *other);

#endif
