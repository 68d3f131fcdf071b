#include "pass/product.h"

/* *x_dev [T, n], operands, with its columns in `order_dev`, in `room_dev`; or as it is. */
static sb_status put_in_order(const sb_product_scope *z, const void **x_dev, void *room_dev,
                              size_t n, const uint32_t *order_dev) {
  sb_backend *b = z->backend;
  if (!order_dev) return SB_OK;
  SB_TRY(
      b->op->gather_matrix(b, z->stream, room_dev, *x_dev, b->operand, z->T, n, NULL, order_dev));
  *x_dev = room_dev;
  return SB_OK;
}

sb_status sb_product_arrange(const sb_product_scope *z, const sb_product *p, const void **dy_dev,
                             const void **x_dev) {
  if (dy_dev) SB_TRY(put_in_order(z, dy_dev, z->output_room_dev, p->rows, p->row_order_dev));
  return put_in_order(z, x_dev, z->input_room_dev, p->cols, p->col_order_dev);
}

/* The weight gradient has no W in it, so that forms whose factors are plain share it. */
static sb_status plain_weight_gradient(const sb_product_scope *z, const sb_product *p, float *g_dev,
                                       const void *dy_dev, const void *x_dev) {
  sb_backend *b = z->backend;
  return b->op->gemm(b, z->stream,
                     &(sb_gemm_args){.m = p->rows,
                                     .n = p->cols,
                                     .k = z->T,
                                     .a = sb_view_transposed(dy_dev, b->operand, p->rows),
                                     .b = sb_view(x_dev, b->operand, p->cols),
                                     .c = g_dev,
                                     .c_dtype = SB_F32,
                                     .ldc = p->cols});
}

/* ---- dense ---- */

static sb_status dense_forward(const sb_product_scope *z, const sb_product *p, void *y_dev,
                               const void *x_dev, bool add) {
  sb_backend *b = z->backend;
  return b->op->gemm(b, z->stream,
                     &(sb_gemm_args){.m = z->T,
                                     .n = p->rows,
                                     .k = p->cols,
                                     .a = sb_view(x_dev, b->operand, p->cols),
                                     .b = sb_view_transposed(p->dense_dev, b->operand, p->cols),
                                     .c = y_dev,
                                     .c_dtype = b->act,
                                     .ldc = p->rows,
                                     .add = add});
}

static sb_status dense_input_gradient(const sb_product_scope *z, const sb_product *p, void *dx_dev,
                                      const void *dy_dev, bool add) {
  sb_backend *b = z->backend;
  return b->op->gemm(b, z->stream,
                     &(sb_gemm_args){.m = z->T,
                                     .n = p->cols,
                                     .k = p->rows,
                                     .a = sb_view(dy_dev, b->operand, p->rows),
                                     .b = sb_view(p->dense_dev, b->operand, p->cols),
                                     .c = dx_dev,
                                     .c_dtype = b->act,
                                     .ldc = p->cols,
                                     .add = add});
}

const sb_product_form sb_product_dense = {"dense", dense_forward, dense_input_gradient,
                                          plain_weight_gradient};

/* ---- packed ---- */

/* W stays in its stored order: x is brought into it, y out of it. */
static sb_status packed_forward(const sb_product_scope *z, const sb_product *p, void *y_dev,
                                const void *x_dev, bool add) {
  sb_backend *b = z->backend;
  SB_TRY(put_in_order(z, &x_dev, z->input_room_dev, p->cols, p->col_order_dev));
  if (!p->row_position_dev)
    return b->op->packed_gemm(b, z->stream, y_dev, x_dev, z->T, p->packed, add);
  SB_TRY(b->op->packed_gemm(b, z->stream, z->output_room_dev, x_dev, z->T, p->packed, false));
  void *natural_dev = add ? z->input_room_dev : y_dev; /* x has been used */
  SB_TRY(b->op->gather_matrix(b, z->stream, natural_dev, z->output_room_dev, b->act, z->T, p->rows,
                              NULL, p->row_position_dev));
  return add ? b->op->add(b, z->stream, y_dev, natural_dev, z->T * p->rows) : SB_OK;
}

static sb_status packed_input_gradient(const sb_product_scope *z, const sb_product *p, void *dx_dev,
                                       const void *dy_dev, bool add) {
  (void)z, (void)dx_dev, (void)dy_dev, (void)add;
  return sb_fail(SB_ERR_UNSUPPORTED,
                 "a packed matrix [%zu, %zu] has no input gradient: unpack it for backward passes",
                 p->rows, p->cols);
}

const sb_product_form sb_product_packed = {"packed", packed_forward, packed_input_gradient,
                                           plain_weight_gradient};
