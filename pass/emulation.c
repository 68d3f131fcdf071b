#include "pass/emulation.h"

#include "base/memory.h"
#include "kernels/shared/lowprec_code.h"

sb_status sb_coded_room_create(sb_backend *b, size_t T, size_t widest, sb_coded_room **out) {
  sb_status status = SB_OK;
  const size_t bytes = T * widest * sizeof(float);
  SB_TRY(sb_alloc(out, 1, sizeof **out, "low-precision operands"));
  (*out)->backend = b;
  SB_GO(b->op->alloc(b, bytes, "low-precision operands", &(*out)->x_dev));
  SB_GO(b->op->alloc(b, bytes, "low-precision operands", &(*out)->dy_dev));
  SB_GO(b->op->alloc(b, 2 * sizeof(float), "low-precision operands", (void **)&(*out)->scales_dev));
done:
  if (status != SB_OK) sb_coded_room_free(out);
  return status;
}

void sb_coded_room_free(sb_coded_room **room) {
  sb_coded_room *r = *room;
  if (!r) return;
  r->backend->op->free(r->backend, r->x_dev);
  r->backend->op->free(r->backend, r->dy_dev);
  r->backend->op->free(r->backend, r->scales_dev);
  sb_free(room);
}

/* The operands of each GEMM. */
static const sb_lowprec_operand operands_of[SB_GEMM_KINDS][2] = {
    [SB_FPROP] = {SB_LOWPREC_X, SB_LOWPREC_W},
    [SB_DGRAD] = {SB_LOWPREC_DY, SB_LOWPREC_W},
    [SB_WGRAD] = {SB_LOWPREC_DY, SB_LOWPREC_X},
};

sb_operand_coding sb_operand_coding_of(const sb_emulation *e, sb_gemm_kind gemm,
                                       sb_lowprec_operand operand) {
  bool fits = true;
  for (int i = 0; i < 2; i++) {
    const sb_lowprec_rule rule =
        sb_lowprec_rule_of(e->gemms[gemm], operands_of[gemm][i], gemm, &e->options);
    fits = fits && sb_lowprec_fits_bf16(&rule);
  }
  return (sb_operand_coding){.rule = sb_lowprec_rule_of(e->gemms[gemm], operand, gemm, &e->options),
                             .dtype = fits ? SB_BF16 : SB_F32};
}

/* Floats have the factor in them: it would cost the product something and gain nothing. */
sb_status sb_operand_code(sb_backend *b, sb_stream stream, const sb_operand_coding *coding,
                          const void *src, sb_dtype src_dtype, size_t rows, size_t cols,
                          uint64_t key, void *dst_dev, float *scale_dev, sb_coded *out) {
  const bool apart = coding->dtype == SB_BF16 && sb_lowprec_has_tensor_scale(&coding->rule);
  float *scale = apart ? scale_dev : NULL;
  *out = (sb_coded){dst_dev, coding->dtype, scale};
  return b->op->round_lowprec(b, stream,
                              &(sb_lowprec_args){.rule = coding->rule,
                                                 .rows = rows,
                                                 .cols = cols,
                                                 .src = src,
                                                 .src_dtype = src_dtype,
                                                 .dst = dst_dev,
                                                 .dst_dtype = coding->dtype,
                                                 .key = key,
                                                 .tensor_scale = scale});
}
