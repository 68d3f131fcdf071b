#include "quant/gptq_input.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/trace.h"
#include "kernels/shared/trellis.h"
#include "quant/encode.h"
#include "quant/round_stack.h"

/* This rank's block rows, in the order in which the stack holds them. */
typedef struct batch {
  sb_gptq_input *work;
  size_t input, count, rows; /* rows of all of them together */
  sb_code_kind code_kind;
  sb_encode_row *at; /* [count] */
  sb_round_stack *stack;
} batch;

static bool multiplies(const batch *b, const sb_encode_row *row) {
  return !b->work->layer || b->work->coded->arch.tensors[row->matrix->tensor].input == b->input;
}

/* ---- load: the stack is created for a number of rows, so they are counted first ---- */

static sb_status count_row(void *context, const sb_encode_row *row) {
  batch *b = context;
  if (!multiplies(b, row)) return SB_OK;
  b->count++;
  b->code_kind = row->code_kind;
  b->rows += sb_tiling_rows_of(&row->matrix->tiling, row->index);
  return SB_OK;
}

static sb_status load_row(void *context, const sb_encode_row *row) {
  batch *b = context;
  if (!multiplies(b, row)) return SB_OK;
  const sb_gptq_input *w = b->work;
  const sb_tiling *tiling = &row->matrix->tiling;
  const size_t matrix = w->coded->arch.tensors[row->matrix->tensor].matrix;
  const uint16_t *col_factors =
      sb_is_trellis(row->code_kind) ? sb_device_layer_col_factors(w->layer, matrix) : NULL;
  b->at[b->count++] = *row;
  return sb_round_stack_add(b->stack,
                            &(sb_round_rows){.w = row->weights,
                                             .dtype = row->dtype,
                                             .rows = sb_tiling_rows_of(tiling, row->index),
                                             .bits = row->bits,
                                             .first_row = row->index * tiling->block_rows,
                                             .row_key = row->row_key,
                                             .col_factors = col_factors});
}

static sb_status load(batch *b, size_t group, const void *image) {
  SB_SPAN(SB_TRACE_COMPUTE, "load rows", b->input);
  const sb_gptq_input *w = b->work;
  SB_TRY(sb_encode_visit(w->source, w->coded, group, image, count_row, b));
  const sb_round_setup setup = {.backend = w->backend,
                                .stream = w->stream,
                                .rows = b->rows,
                                .count = b->count,
                                .cols = sb_moments_width(w->moments, b->input),
                                .block_cols = w->coded->blocking.cols,
                                .code_kind = b->code_kind,
                                .refine = w->refine > 0,
                                .panels_dev = sb_moments_on_device(w->moments)};
  if (b->count > 0)
    sb_log_debug("gptq", "group %zu, input %zu: %zu row%s of %zu channels in %zu block row%s",
                 group, b->input, b->rows, sb_text_s(b->rows), setup.cols, b->count,
                 sb_text_s(b->count));
  SB_TRY(sb_alloc(&b->at, b->count, sizeof *b->at, "block rows"));
  SB_TRY(sb_round_stack_create(&setup, &b->stack));
  b->count = 0;
  return sb_encode_visit(w->source, w->coded, group, image, load_row, b);
}

/* ---- round: one sweep over the factor; panels are collective, what is done with them is not, so
 * a rank that fails goes on taking panels until all can agree ---- */

static sb_status take_panel(batch *b, size_t begin, size_t *end, const float **panel, size_t *ld) {
  sb_gptq_input *w = b->work;
  SB_SPAN_INTO(&w->factor_seconds, SB_TRACE_COMPUTE, "panel", begin);
  return sb_moments_panel(w->moments, b->input, begin, end, panel, ld);
}

static sb_status round_columns(batch *b) {
  sb_gptq_input *w = b->work;
  const size_t n = sb_moments_width(w->moments, b->input);
  sb_status status = SB_OK;
  for (size_t begin = 0, end = 0; begin < n; begin = end) {
    const float *panel;
    size_t ld;
    SB_TRY(take_panel(b, begin, &end, &panel, &ld));
    SB_SPAN_INTO(&w->round_seconds, SB_TRACE_COMPUTE, "round columns", begin);
    SB_THEN(sb_round_stack_round(b->stack, begin, end, panel, ld, w->fitted));
  }
  return sb_world_agree(w->coded->world, status);
}

/* ---- refine: sweeps over the moments, the first of them for the residuals of
 * what was rounded ---- */

static sb_status sweep(batch *b, bool first) {
  const sb_gptq_input *w = b->work;
  const size_t n = sb_moments_width(w->moments, b->input);
  sb_status status = SB_OK;
  for (size_t begin = 0, end = 0; begin < n; begin = end) {
    const float *panel;
    SB_TRY(sb_moments_rows(w->moments, b->input, begin, &end, &panel));
    SB_THEN(first ? sb_round_stack_residual(b->stack, begin, end, panel)
                  : sb_round_stack_refine(b->stack, begin, end, panel));
  }
  return sb_world_agree(w->coded->world, status);
}

static sb_status refine(batch *b) {
  sb_gptq_input *w = b->work;
  if (w->refine == 0) return SB_OK;
  SB_SPAN_INTO(&w->refine_seconds, SB_TRACE_COMPUTE, "refine", b->input);
  for (int pass = 0; pass <= w->refine; pass++) SB_TRY(sweep(b, pass == 0));
  return SB_OK;
}

/* ---- encode: from the stack into the coded store ---- */

static sb_status encode(batch *b) {
  SB_SPAN(SB_TRACE_COMPUTE, "encode rows", b->input);
  sb_status status = SB_OK;
  for (size_t k = 0; k < b->count && status == SB_OK; k++) {
    const sb_tiling *tiling = &b->at[k].matrix->tiling;
    const size_t rows = sb_tiling_rows_of(tiling, b->at[k].index);
    sb_grid *grids = NULL;
    uint8_t *codes = NULL;
    uint16_t *row_factors = NULL;
    SB_GO(sb_alloc_raw(&grids, rows * sb_tiling_block_cols(tiling), sizeof *grids, "block row"));
    SB_GO(sb_alloc_raw(&codes, rows * tiling->cols, 1, "block row"));
    SB_GO(sb_alloc_raw(&row_factors, rows, sizeof *row_factors, "block row"));
    SB_GO(sb_round_stack_get(b->stack, k, grids, codes, row_factors));
    sb_encode_codes(&b->at[k], grids, codes,
                    sb_is_trellis(b->at[k].code_kind) ? row_factors : NULL);
  done:
    sb_free(&grids);
    sb_free(&codes);
    sb_free(&row_factors);
  }
  return status;
}

sb_status sb_gptq_input_round(sb_gptq_input *work, size_t group, const void *image, size_t input) {
  const sb_world *world = work->coded->world;
  batch b = {.work = work, .input = input};
  sb_status status = sb_world_agree(world, load(&b, group, image));
  SB_THEN(round_columns(&b));
  SB_THEN(refine(&b));
  SB_THEN(sb_world_agree(world, encode(&b)));
  sb_round_stack_free(&b.stack);
  sb_free(&b.at);
  return status;
}
