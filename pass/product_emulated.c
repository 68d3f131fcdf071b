/* Products in low precision, emulated: operands are coded and decoded again, then multiplied.
 *
 *   fprop   y  = Q(x) Q(W)'      blocks of scales along channels
 *   dgrad   dx = Q(dy) Q(W)      along outputs
 *   wgrad   g  = Q(dy)' Q(x)     along tokens, coded from x and dy themselves
 *
 * A GEMM whose precision is high reads the operands as they are. Gradients pass a rounding as if it
 * were not there (straight-through). The product runs in bf16 where that is exact, else in f32. */
#include "kernels/shared/lowprec_code.h"
#include "pass/emulation.h"
#include "pass/product.h"

static uint64_t key_of(const sb_product_scope *z, const sb_emulation *e, sb_gemm_kind gemm,
                       sb_lowprec_operand operand) {
  const uint64_t words[] = {e->layer, e->matrix, gemm, operand, z->sequence};
  uint64_t key = z->key;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) key = sb_lowprec_key(key, words[i]);
  return key;
}

static sb_status code(const sb_product_scope *z, const sb_product *p, sb_gemm_kind gemm,
                      sb_lowprec_operand operand, const void *src, size_t width, sb_coded *out) {
  const sb_emulation *e = p->emulation;
  sb_coded_room *room = z->coding;
  const sb_operand_coding coding = sb_operand_coding_of(e, gemm, operand);
  const bool is_x = operand == SB_LOWPREC_X;
  return sb_operand_code(z->backend, z->stream, &coding, src, z->backend->operand, z->T, width,
                         key_of(z, e, gemm, operand), is_x ? room->x_dev : room->dy_dev,
                         room->scales_dev + (is_x ? 0 : 1), out);
}

/* x of a layer call is coded once for all matrices that multiply it by the same rule. */
static sb_status code_x(const sb_product_scope *z, const sb_product *p, sb_gemm_kind gemm,
                        const void *x, sb_coded *out) {
  sb_coded_room *room = z->coding;
  const sb_operand_coding coding = sb_operand_coding_of(p->emulation, gemm, SB_LOWPREC_X);
  const bool there = room->x_source == x && room->x.dtype == coding.dtype &&
                     sb_lowprec_rules_equal(&room->x_rule, &coding.rule);
  if (!there) {
    room->x_source = NULL;
    SB_TRY(code(z, p, gemm, SB_LOWPREC_X, x, p->cols, &room->x));
    room->x_rule = coding.rule;
    room->x_source = x;
  }
  *out = room->x;
  return SB_OK;
}

/* C = A B with views of coded operands. */
static sb_status multiply(const sb_product_scope *z, const sb_coded *a, const sb_coded *b,
                          sb_gemm_args args) {
  args.a.data = a->data_dev;
  args.a.dtype = a->dtype;
  args.b.data = b->data_dev;
  args.b.dtype = b->dtype;
  args.c_dtype = SB_F32;
  args.type = a->dtype == SB_BF16 ? SB_GEMM_BF16 : SB_GEMM_F32;
  args.scale_a = a->scale_dev;
  args.scale_b = b->scale_dev;
  return z->backend->op->gemm(z->backend, z->stream, &args);
}

static sb_status emulated_forward(const sb_product_scope *z, const sb_product *p, void *y_dev,
                                  const void *x_dev, bool add) {
  sb_coded x;
  if (p->emulation->gemms[SB_FPROP] == SB_PRECISION_HIGH)
    return sb_product_dense.forward(z, p, y_dev, x_dev, add);
  SB_TRY(code_x(z, p, SB_FPROP, x_dev, &x));
  return multiply(z, &x, &p->emulation->fprop,
                  (sb_gemm_args){.m = z->T,
                                 .n = p->rows,
                                 .k = p->cols,
                                 .a = {.ld = p->cols},
                                 .b = {.ld = p->cols, .transposed = true},
                                 .c = y_dev,
                                 .ldc = p->rows,
                                 .add = add});
}

static sb_status emulated_input_gradient(const sb_product_scope *z, const sb_product *p,
                                         void *dx_dev, const void *dy_dev, bool add) {
  sb_coded dy;
  if (p->emulation->gemms[SB_DGRAD] == SB_PRECISION_HIGH)
    return sb_product_dense.input_gradient(z, p, dx_dev, dy_dev, add);
  SB_TRY(code(z, p, SB_DGRAD, SB_LOWPREC_DY, dy_dev, p->rows, &dy));
  return multiply(z, &dy, &p->emulation->dgrad,
                  (sb_gemm_args){.m = z->T,
                                 .n = p->cols,
                                 .k = p->rows,
                                 .a = {.ld = p->rows},
                                 .b = {.ld = p->cols},
                                 .c = dx_dev,
                                 .ldc = p->cols,
                                 .add = add});
}

static sb_status emulated_weight_gradient(const sb_product_scope *z, const sb_product *p,
                                          float *g_dev, const void *dy_dev, const void *x_dev) {
  sb_coded dy, x;
  if (p->emulation->gemms[SB_WGRAD] == SB_PRECISION_HIGH)
    return sb_product_dense.weight_gradient(z, p, g_dev, dy_dev, x_dev);
  SB_TRY(code(z, p, SB_WGRAD, SB_LOWPREC_DY, dy_dev, p->rows, &dy));
  SB_TRY(code_x(z, p, SB_WGRAD, x_dev, &x));
  return multiply(z, &dy, &x,
                  (sb_gemm_args){.m = p->rows,
                                 .n = p->cols,
                                 .k = z->T,
                                 .a = {.ld = p->rows, .transposed = true},
                                 .b = {.ld = p->cols},
                                 .c = g_dev,
                                 .ldc = p->cols});
}

const sb_product_form sb_product_emulated = {"emulated", emulated_forward, emulated_input_gradient,
                                             emulated_weight_gradient};
