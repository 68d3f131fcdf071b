/* Device memory of the measuring step (policy/error_step.h): one layer's weights, plain and coded
 * by every precision, and room for one matrix of one sequence. Everything is f32. Local. */
#ifndef SB_POLICY_ERROR_BUFFERS_H
#define SB_POLICY_ERROR_BUFFERS_H

#include "base/status.h"
#include "kernels/lowprec.h"
#include "policy/probe.h"
#include "policy/row_ledger.h"
#include "policy/update_slope.h"

typedef struct sb_error_buffers_setup {
  const sb_probe *probe;
  const sb_update_slope *slope;
  const sb_precision *precisions;
  size_t precision_count;
  const sb_lowprec_options *lowprec;
} sb_error_buffers_setup;

typedef struct sb_error_buffers {
  sb_error_buffers_setup setup;
  const sb_probe *probe;
  sb_backend *backend;
  size_t T, sample, tallest, widest, largest; /* rows, columns, and the larger, of any matrix */
  size_t layer_weights;                       /* elements of the largest layer's matrices */
  sb_row_ledger ledger;
  /* Of a matrix and a sequence: [T, its columns or rows]. */
  float *x, *dy;         /* copies, where operands are another type */
  float *dx;             /* dy W */
  float *coded, *turned; /* an operand coded; an operand rotated */
  /* The same of sampled tokens. */
  float *some_x, *some_dy, *some_dx, *some_y, *some_coded, *product;
  float *moved_x, *moved_dy; /* of the noise step */
  void *raw;                 /* operands on their way */
  /* Weights of the layer at hand. */
  float *plain;                   /* [layer_weights], where operands are another type */
  float *coded_weights;           /* [precisions, 2, layer_weights], fprop's and dgrad's */
  const float **weights;          /* [matrices of a layer] */
  size_t *first;                  /* [matrices of a layer] elements of those before */
  float *slope_rows, *slope_cols; /* sb_update_slope's */
} sb_error_buffers;

/* SB_ERR_MEMORY. sb_error_buffers_free also releases what a failed call has allocated. */
sb_status sb_error_buffers_create(const sb_error_buffers_setup *setup, sb_error_buffers *out);
void sb_error_buffers_free(sb_error_buffers *e);

/* Queues: the weights of a layer, and what each precision makes of them. */
sb_status sb_error_buffers_load(sb_error_buffers *e, sb_stream stream, size_t layer,
                                const sb_device_layer *prepared);
/* The loaded weights of a matrix as precision number p codes them for fprop or dgrad. */
const float *sb_error_weights(const sb_error_buffers *e, size_t matrix, size_t p,
                              sb_gemm_kind gemm);

/* The slopes' model of a matrix by its number through the model (policy/update_slope.h): [rows],
 * [cols]. */
static inline const float *sb_error_slope_rows(const sb_error_buffers *e, size_t number) {
  return e->slope_rows + e->setup.slope->first_row[number];
}
static inline const float *sb_error_slope_cols(const sb_error_buffers *e, size_t number) {
  return e->slope_cols + e->setup.slope->first_col[number];
}

/* Queues: to [m, n] = a [m, k] w, with w [k, n], or w' with w [n, k] if `transposed`; in f32. */
sb_status sb_error_multiply(const sb_error_buffers *e, sb_stream stream, float *to, const float *a,
                            const float *w, size_t m, size_t n, size_t k, bool transposed);
/* *out = operands as floats: `from` itself, or a copy that is queued into `room`. */
sb_status sb_error_floats(const sb_error_buffers *e, sb_stream stream, float *room,
                          const void *from, size_t count, const float **out);
/* Queues: to = operands from the host, as floats. */
sb_status sb_error_upload(const sb_error_buffers *e, sb_stream stream, float *to, const void *from,
                          size_t count);

#endif
