#include "measure/trellis_phases.h"

#include <string.h>

#include "base/memory.h"
#include "measure/numbers.h"

enum { WIDTH = 2, TILE_ROWS = 64, BLOCK_COLS = 16, DEVICE_ROWS = 2048 };

struct sb_trellis_phases {
  sb_backend *backend;
  sb_tiling tiling;
  float *w, *out;    /* device, [rows, cols] */
  uint16_t *factors; /* device, fp16 [cols]: of columns, all 1 */
  uint8_t *bits;     /* [blocks] */
};

static size_t weights_of(const sb_trellis_phases *p) {
  return p->tiling.rows * p->tiling.cols;
}

static sb_status upload_factors(sb_trellis_phases *p) {
  const size_t bytes = p->tiling.cols * sizeof *p->factors;
  sb_backend *b = p->backend;
  uint16_t *ones = NULL;
  SB_TRY(b->op->alloc(b, bytes, "factors of columns", (void **)&p->factors));
  SB_TRY(sb_alloc_raw(&ones, p->tiling.cols, sizeof *ones, "factors of columns"));
  for (size_t c = 0; c < p->tiling.cols; c++) ones[c] = sb_f32_to_f16(1.0f);
  sb_status status = b->op->upload(b, NULL, p->factors, ones, bytes);
  SB_THEN(b->op->sync(b, NULL));
  sb_free(&ones);
  return status;
}

static sb_status create(sb_trellis_phases *p) {
  sb_backend *b = p->backend;
  const size_t bytes = weights_of(p) * sizeof *p->w,
               blocks = sb_tiling_block_rows(&p->tiling) * sb_tiling_block_cols(&p->tiling);
  SB_TRY(sb_alloc_raw(&p->bits, blocks, 1, "bits"));
  memset(p->bits, WIDTH, blocks);
  SB_TRY(b->op->alloc(b, bytes, "weights", (void **)&p->w));
  SB_TRY(b->op->alloc(b, bytes, "weights", (void **)&p->out));
  SB_TRY(upload_factors(p));
  return sb_numbers_upload(b, p->w, SB_F32, weights_of(p));
}

sb_status sb_trellis_phases_create(sb_backend *b, size_t cols, sb_trellis_phases **out) {
  SB_TRY(sb_alloc(out, 1, sizeof **out, "phases of trellis codes"));
  **out = (sb_trellis_phases){
      .backend = b, .tiling = {b->unified ? TILE_ROWS : DEVICE_ROWS, cols, TILE_ROWS, BLOCK_COLS}};
  const sb_status status = create(*out);
  if (status != SB_OK) sb_trellis_phases_free(out);
  return status;
}

void sb_trellis_phases_free(sb_trellis_phases **phases) {
  sb_trellis_phases *p = *phases;
  if (!p) return;
  p->backend->op->free(p->backend, p->w);
  p->backend->op->free(p->backend, p->out);
  p->backend->op->free(p->backend, p->factors);
  sb_free(&p->bits);
  sb_free(phases);
}

static sb_status find(sb_trellis_phases *p, sb_code_kind kind) {
  sb_backend *b = p->backend;
  SB_TRY(b->op->trellis_quantize(
      b, NULL, p->out, SB_F32,
      &(sb_block_weights){
          .w = p->w, .dtype = SB_F32, .tiling = &p->tiling, .bits = p->bits, .code_kind = kind},
      0, p->factors));
  return b->op->sync(b, NULL);
}

sb_status sb_trellis_phases_12(void *phases) {
  return find(phases, SB_TRELLIS_12);
}
sb_status sb_trellis_phases_14(void *phases) {
  return find(phases, SB_TRELLIS_14);
}
sb_status sb_trellis_phases_16(void *phases) {
  return find(phases, SB_TRELLIS_16);
}

void sb_trellis_phases_work(const sb_trellis_phases *p, double work[SB_FIGURES]) {
  work[SB_FIGURE_TRELLIS_12] = work[SB_FIGURE_TRELLIS_14] = work[SB_FIGURE_TRELLIS_16] =
      (double)weights_of(p);
}
