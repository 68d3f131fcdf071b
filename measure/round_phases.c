#include "measure/round_phases.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "quant/round_stack.h"

enum { MOST_CHANNELS = 1024, MOST_CHANNELS_GPU = 8192, BLOCK_ROWS = 16 };

#define QUANTUM 0x1p-40

struct sb_round_phases {
  sb_backend *b;
  sb_code_kind code_kind;
  size_t n;
  sb_tiling block_row;
  int64_t *moments_dev, *lost_dev; /* [n, n] multiples of QUANTUM: as they are, and for the factor
                                      to use up */
  float *factor_dev, *panel_dev;   /* [n, n]: panel has the moments, for refining */
  float *w;                        /* of one block row */
  uint8_t *bits;                   /* of its blocks */
  sb_round_stack *stack;
};

/* The moments of channels that depend on their neighbours: positive definite. */
static sb_status upload_moments(sb_round_phases *p) {
  const size_t n = p->n;
  float *apart = NULL, *row = NULL;
  sb_status status = SB_OK;
  SB_GO(sb_alloc_raw(&apart, n, sizeof *apart, "second moments"));
  SB_GO(sb_alloc_raw(&row, n, sizeof *row, "second moments"));
  for (size_t k = 0; k < n; k++) apart[k] = (float)exp(-(double)k / 8);
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < n; j++) row[j] = apart[i > j ? i - j : j - i];
    SB_GO(p->b->op->upload(p->b, NULL, p->panel_dev + i * n, row, n * sizeof *row));
    SB_GO(p->b->op->sync(p->b, NULL));
  }
  SB_GO(p->b->op->zero(p->b, NULL, p->moments_dev, n * n * sizeof *p->moments_dev));
  SB_GO(p->b->op->add_multiples(p->b, NULL, p->moments_dev, p->panel_dev, n * n, QUANTUM, false));
  SB_GO(p->b->op->sync(p->b, NULL));
done:
  sb_free(&apart);
  sb_free(&row);
  return status;
}

static sb_status prepare(sb_round_phases *p) {
  sb_backend *b = p->b;
  const size_t n = p->n, whole = n * n, weights = p->block_row.rows * n,
               blocks = sb_tiling_block_cols(&p->block_row);
  SB_TRY(b->op->alloc(b, whole * sizeof(int64_t), "second moments", (void **)&p->moments_dev));
  SB_TRY(b->op->alloc(b, whole * sizeof(int64_t), "second moments", (void **)&p->lost_dev));
  SB_TRY(b->op->alloc(b, whole * sizeof(float), "factor", (void **)&p->factor_dev));
  SB_TRY(b->op->alloc(b, whole * sizeof(float), "second moments", (void **)&p->panel_dev));
  SB_TRY(sb_alloc_raw(&p->w, weights, sizeof *p->w, "block row"));
  for (size_t k = 0; k < weights; k++) p->w[k] = (float)(k % 251) * 1e-3f - 0.125f;
  SB_TRY(sb_alloc_raw(&p->bits, blocks, 1, "bits"));
  memset(p->bits, SB_ROUND_PHASES_BITS, blocks);
  return upload_moments(p);
}

sb_status sb_round_phases_create(sb_backend *b, const sb_blocking *blocking, size_t channels,
                                 sb_round_phases **out) {
  SB_TRY(sb_alloc(out, 1, sizeof **out, "phases of rounding"));
  sb_round_phases *p = *out;
  p->b = b;
  p->code_kind = blocking->code_kind;
  p->n = sb_min_size(channels, b->unified ? MOST_CHANNELS : MOST_CHANNELS_GPU);
  p->block_row =
      (sb_tiling){blocking->rows, p->n, blocking->rows, sb_min_size(blocking->cols, p->n)};
  const sb_status status = prepare(p);
  if (status != SB_OK) sb_round_phases_free(out);
  return status;
}

void sb_round_phases_free(sb_round_phases **phases) {
  sb_round_phases *p = *phases;
  if (!p) return;
  void *device[] = {p->moments_dev, p->lost_dev, p->factor_dev, p->panel_dev};
  for (size_t i = 0; i < sizeof device / sizeof *device; i++) p->b->op->free(p->b, device[i]);
  sb_free(&p->w);
  sb_free(&p->bits);
  sb_round_stack_free(&p->stack);
  sb_free(phases);
}

sb_status sb_round_phases_factorise(void *phases) {
  sb_round_phases *p = phases;
  const size_t bytes = p->n * p->n * sizeof *p->moments_dev;
  sb_factor_job job = {
      .n = p->n, .sums = p->lost_dev, .quantum = QUANTUM, .damping = 0.01, .factor = p->factor_dev};
  SB_TRY(p->b->op->copy(p->b, NULL, p->lost_dev, p->moments_dev, bytes));
  SB_TRY(p->b->op->factor_moments(p->b, NULL, &job, 1));
  return job.status == SB_OK ? SB_OK : sb_fail(job.status, "%s", job.message);
}

sb_status sb_round_phases_round(void *phases) {
  sb_round_phases *p = phases;
  const sb_round_setup setup = {.backend = p->b,
                                .rows = BLOCK_ROWS * p->block_row.rows,
                                .count = BLOCK_ROWS,
                                .cols = p->block_row.cols,
                                .block_cols = p->block_row.block_cols,
                                .code_kind = p->code_kind,
                                .refine = true,
                                .panels_dev = true};
  sb_round_stack_free(&p->stack);
  SB_TRY(sb_round_stack_create(&setup, &p->stack));
  const sb_round_rows rows = {
      .w = p->w, .dtype = SB_F32, .rows = p->block_row.rows, .bits = p->bits};
  for (int i = 0; i < BLOCK_ROWS; i++) SB_TRY(sb_round_stack_add(p->stack, &rows));
  return sb_round_stack_round(p->stack, 0, p->n, p->factor_dev, p->n, true);
}

/* One pass over what was rounded; what rounding has left of the weights does for a residual. */
sb_status sb_round_phases_refine(void *phases) {
  sb_round_phases *p = phases;
  return sb_round_stack_refine(p->stack, 0, p->n, p->panel_dev);
}

void sb_round_phases_work(const sb_round_phases *p, double work[SB_FIGURES]) {
  const double n = (double)p->n;
  work[SB_FIGURE_FACTOR] = 4.0 / 3.0 * n * n * n;
  work[SB_FIGURE_ROUNDING] = (double)(BLOCK_ROWS * p->block_row.rows) * n * n;
  work[SB_FIGURE_REFINE] = 2.0 * work[SB_FIGURE_ROUNDING];
}
