/* One matrix W [rows, cols] of a layer, on a device, and the three products that passes make of it:
 *
 *   forward           y  = x W'     x [T, cols],  y  [T, rows]
 *   input gradient    dx = dy W     dy [T, rows], dx [T, cols]
 *   weight gradient   g  = dy' x    g [rows, cols], f32
 *
 * A *form* is one way to hold W and to multiply with it, a table of functions: dense (an array of
 * type `operand`), packed (codes that are multiplied without being decoded as a whole) and emulated
 * (GEMMs in low precision). Another form (blocks with another alphabet) is another table, and the
 * fields of sb_product that it needs; the layers do not change.
 *
 * Rows and columns of W may be stored in an order of their own (model/orders.h). Activations are
 * always in the natural order. The factors that hooks see and the weight gradient are in the stored
 * order, even where a form holds W in the natural order.
 *
 * All functions are local; they queue on the scope's stream and do not wait. All pointers with
 * `_dev` are device memory. x, dy and dense W are of the backend's type `operand`, y and dx of its
 * type `act`. */
#ifndef SB_PASS_PRODUCT_H
#define SB_PASS_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "pass/emulation.h"

typedef struct sb_product_form sb_product_form;

/* A matrix that is ready. Owned, with all it points to, by whoever prepared it. */
typedef struct sb_product {
  const sb_product_form *form;
  size_t rows, cols;
  const void *dense_dev;         /* sb_product_dense: [rows, cols], natural order */
  sb_packed packed;              /* sb_product_packed: stored order */
  const sb_emulation *emulation; /* sb_product_emulated, which also has dense_dev; no orders */
  /* Stored position i is row row_order[i] and column col_order[i] of W; row_position is
   * the reverse of row_order. All three NULL: stored as they are. Matrices that share
   * an input share col_order. */
  const uint32_t *row_order_dev, *col_order_dev, *row_position_dev;
} sb_product;

/* The backend, stream and scratch of the products of one sequence. */
typedef struct sb_product_scope {
  sb_backend *backend;
  sb_stream stream;
  size_t T; /* tokens */
  /* Scratch for one input and one output in the stored order, [T, the largest dimension], operands
   * or activations. May be NULL where no matrix has an order. */
  void *input_room_dev, *output_room_dev;
  /* For emulated products: room, the batch's key, and the sequence's number in the batch. */
  sb_coded_room *coding;
  uint64_t key;
  size_t sequence;
} sb_product_scope;

struct sb_product_form {
  const char *name; /* for messages */
  /* y = x W', or y + x W' where `add`. */
  sb_status (*forward)(const sb_product_scope *scope, const sb_product *product, void *y_dev,
                       const void *x_dev, bool add);
  /* dx = dy W, or dx + dy W where `add`. SB_ERR_UNSUPPORTED of forms for forward passes only. */
  sb_status (*input_gradient)(const sb_product_scope *scope, const sb_product *product,
                              void *dx_dev, const void *dy_dev, bool add);
  /* g = dy' x of factors that sb_product_arrange gave. */
  sb_status (*weight_gradient)(const sb_product_scope *scope, const sb_product *product,
                               float *g_dev, const void *dy_dev, const void *x_dev);
};

extern const sb_product_form sb_product_dense, sb_product_packed, sb_product_emulated;

static inline sb_status sb_product_forward(const sb_product_scope *scope, const sb_product *product,
                                           void *y_dev, const void *x_dev, bool add) {
  return product->form->forward(scope, product, y_dev, x_dev, add);
}
static inline sb_status sb_product_input_gradient(const sb_product_scope *scope,
                                                  const sb_product *product, void *dx_dev,
                                                  const void *dy_dev, bool add) {
  return product->form->input_gradient(scope, product, dx_dev, dy_dev, add);
}
static inline sb_status sb_product_weight_gradient(const sb_product_scope *scope,
                                                   const sb_product *product, float *g_dev,
                                                   const void *dy_dev, const void *x_dev) {
  return product->form->weight_gradient(scope, product, g_dev, dy_dev, x_dev);
}

/* Brings the factors of the weight gradient into the stored order: *x_dev [T, cols] and, unless
 * NULL, *dy_dev [T, rows] then point into the scope's rooms, which the next product may overwrite.
 * Without an order they stay. Arranging the factors is less work than arranging g. */
sb_status sb_product_arrange(const sb_product_scope *scope, const sb_product *product,
                             const void **dy_dev, const void **x_dev);

#endif
