/* packed_gemm with trellis codes (ops/trellis.h):
 *
 *   y = row_factors o H' (S (H'' (col_factors o x)))
 *
 * S alone is as large as the matrix, and it is read once from its codes (cpu_trellis_decode.h). The
 * transforms on both sides cost as much as a few rows and columns of it. */
#include "kernels/cpu/cpu_packed.h"

#include <omp.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/cpu/cpu_trellis_decode.h"
#include "kernels/cpu/cpu_transform.h"
#include "kernels/shared/blockrow_layout.h"

typedef struct product {
  const sb_trellis_kernels *kernels;
  const struct sb_packed_impl *w;
  const float *x;
  float *y;
  size_t T;
  bool add;
  size_t length;          /* floats of a prepared x: every block column is padded to whole strips */
  size_t height;          /* floats of S x of a token: every block row is padded to whole strips */
  float *turned;          /* [T, length], or NULL */
  sb_strip_input *inputs; /* [T, length / SB_STRIP_COLS], or NULL */
  float *sums;            /* [T, height]: S x */
  float *scratch;         /* one part per thread */
  size_t scratch_size;
} product;

static float *own_scratch(const product *p) {
  return p->scratch + (size_t)omp_get_thread_num() * p->scratch_size;
}

/* Floats before block row i in S x of a token. */
static size_t height_before(const sb_tiling *tiling, size_t i) {
  return i * sb_div_up(sb_tiling_rows_of(tiling, 0), SB_STRIP_ROWS) * SB_STRIP_ROWS;
}

static float half_at(const uint8_t *p, size_t k) {
  uint16_t half;
  memcpy(&half, p + 2 * k, sizeof half);
  return sb_grid_from_fp16(half);
}

/* ---- x ---- */

/* The part of token t that block column j meets, in transformed coordinates, in `to`. */
static void turn_input(const product *p, size_t t, size_t j, float *to) {
  const sb_tiling *tiling = &p->w->tiling;
  const size_t first = j * tiling->block_cols, cols = sb_tiling_cols_of(tiling, j);
  const float *x = p->x + t * tiling->cols + first;
  for (size_t c = 0; c < cols; c++) to[c] = x[c] * sb_grid_from_fp16(p->w->col_factors[first + c]);
  memset(to + cols, 0, (sb_packed_width(tiling, j) - cols) * sizeof *to);
  sb_cpu_hadamard_runs(to, cols);
}

static void prepare(const product *p, size_t t, size_t j) {
  const size_t start = sb_packed_start(&p->w->tiling, j), width = sb_packed_width(&p->w->tiling, j);
  if (p->turned) {
    turn_input(p, t, j, p->turned + t * p->length + start);
    return;
  }
  float *turned = own_scratch(p);
  turn_input(p, t, j, turned);
  for (size_t c = 0; c < width; c += SB_STRIP_COLS)
    sb_strip_input_make(p->inputs + (t * p->length + start + c) / SB_STRIP_COLS, turned + c,
                        SB_STRIP_COLS);
}

/* ---- strips ---- */

/* A block of the matrix. */
typedef struct block {
  sb_trellis trellis;
  const uint8_t *codes;
  size_t rows, cols;
  float scale;
} block;

static block block_of(const struct sb_packed_impl *w, size_t i, size_t j) {
  const size_t columns = sb_tiling_block_cols(&w->tiling), k = i * columns + j;
  const sb_blockrow_head head =
      sb_blockrow_head_of(columns, sb_tiling_rows_of(&w->tiling, i), w->code_kind);
  return (block){.trellis = sb_trellis_of(w->code_kind, w->bits[k]),
                 .codes = w->packed + w->blocks[k],
                 .rows = sb_tiling_rows_of(&w->tiling, i),
                 .cols = sb_tiling_cols_of(&w->tiling, j),
                 .scale = half_at(w->packed + w->frames[i] + head.scales, j)};
}

/* Most tokens that are multiplied in integers, two at a time: more share the floats of a strip. */
enum { FEW = 6 };

/* Few tokens: the sums of the item's strips with all blocks, straight from codes. */
static void few_item(const product *p, const sb_packed_item *item) {
  enum { TOKEN = SB_STRIP_SUMS, STRIP = FEW * TOKEN };
  const sb_tiling *tiling = &p->w->tiling;
  float *room = own_scratch(p);
  memset(room, 0, sb_div_up(item->rows, SB_STRIP_ROWS) * STRIP * sizeof *room);
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const block b = block_of(p->w, item->i, j);
    const sb_strip_input *x = p->inputs + sb_packed_start(tiling, j) / SB_STRIP_COLS;
    for (size_t c = 0; c < b.cols; c += SB_STRIP_COLS, x++)
      for (size_t r = 0; r < item->rows; r += SB_STRIP_ROWS) {
        const sb_strip strip = sb_strip_of(&b.trellis, b.codes, b.rows, item->row + r, c,
                                           sb_min_size(SB_STRIP_COLS, b.cols - c));
        const size_t step = p->length / SB_STRIP_COLS;
        for (size_t t = 0; t < p->T; t += SB_STRIP_PAIR)
          p->kernels->dot(room + r / SB_STRIP_ROWS * STRIP + t * TOKEN, &b.trellis, &strip, b.scale,
                          x + t * step, step, sb_min_size(SB_STRIP_PAIR, p->T - t));
      }
  }
  float *sums = p->sums + height_before(tiling, item->i) + item->row;
  for (size_t r = 0; r < item->rows; r += SB_STRIP_ROWS)
    for (size_t t = 0; t < p->T; t++)
      p->kernels->in_order(sums + t * p->height + r, room + r / SB_STRIP_ROWS * STRIP + t * TOKEN);
}

/* More tokens: the item's strips are decoded, then multiplied with the tokens [from, end). */
static void many_item(const product *p, const sb_packed_item *item, size_t from, size_t end) {
  const sb_tiling *tiling = &p->w->tiling;
  float *columns = own_scratch(p),
        *sums = p->sums + from * p->height + height_before(tiling, item->i) + item->row;
  const float *x = p->turned + from * p->length;
  for (size_t t = from; t < end; t++)
    memset(sums + (t - from) * p->height, 0,
           sb_div_up(item->rows, SB_STRIP_ROWS) * SB_STRIP_ROWS * sizeof *sums);
  memset(columns, 0, SB_STRIP_LEVELS * sizeof *columns);
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const block b = block_of(p->w, item->i, j);
    for (size_t c = 0; c < b.cols; c += SB_STRIP_COLS)
      for (size_t r = 0; r < item->rows; r += SB_STRIP_ROWS) {
        const size_t cols = sb_min_size(SB_STRIP_COLS, b.cols - c);
        const sb_strip strip = sb_strip_of(&b.trellis, b.codes, b.rows, item->row + r, c, cols);
        sb_strip_columns(p->kernels, columns, &b.trellis, &strip, b.scale);
        p->kernels->multiply(sums + r, p->height, columns, cols, x + sb_packed_start(tiling, j) + c,
                             p->length, end - from);
      }
  }
}

/* ---- y ---- */

/* Brings block row i of S x of token t back, and puts it into y. */
static void finish(const product *p, size_t t, size_t i) {
  const sb_tiling *tiling = &p->w->tiling;
  const size_t rows = sb_tiling_rows_of(tiling, i);
  const sb_blockrow_head head =
      sb_blockrow_head_of(sb_tiling_block_cols(tiling), rows, p->w->code_kind);
  const uint8_t *factors = p->w->packed + p->w->frames[i] + head.row_factors;
  float *sums = p->sums + t * p->height + height_before(tiling, i),
        *y = p->y + t * tiling->rows + i * tiling->block_rows;
  sb_cpu_hadamard_runs(sums, rows);
  for (size_t r = 0; r < rows; r++) y[r] = sums[r] * half_at(factors, r) + (p->add ? y[r] : 0.0f);
}

/* ---- the product ---- */

/* Tokens per decoding of a strip: their x stays in the second cache meanwhile. */
enum { TOGETHER = 192 };

static size_t whole_lines(size_t floats) {
  return sb_div_up(floats, 64 / sizeof(float)) * (64 / sizeof(float));
}

static sb_status scratch_of(sb_backend *backend, product *p, bool few) {
  const size_t prepared =
      few ? p->T * (p->length / SB_STRIP_COLS) * sizeof *p->inputs / sizeof(float)
          : p->T * p->length;
  float *shared;
  SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_SHARED, whole_lines(prepared) + p->T * p->height,
                        sizeof(float), &shared));
  if (few)
    p->inputs = (sb_strip_input *)(void *)shared;
  else
    p->turned = shared;
  p->sums = shared + whole_lines(prepared);
  p->scratch_size = whole_lines(
      sb_max_size(few ? sb_packed_width(&p->w->tiling, 0) : 0,
                  few ? SB_PACKED_ROWS / SB_STRIP_ROWS * FEW * SB_STRIP_SUMS : SB_STRIP_LEVELS));
  return sb_cpu_scratch(backend, SB_CPU_SLOT_THREADS,
                        p->scratch_size * (size_t)sb_cpu_threads(backend), sizeof(float),
                        &p->scratch);
}

sb_status sb_cpu_packed_trellis(sb_backend *backend, const struct sb_packed_impl *w, float *y,
                                const float *x, size_t T, bool add) {
  const sb_tiling *tiling = &w->tiling;
  const size_t rows = sb_tiling_block_rows(tiling), columns = sb_tiling_block_cols(tiling);
  const bool few = T <= FEW && w->code_kind != SB_TRELLIS_EXL3;
  const size_t together = few ? T : TOGETHER, across = sb_div_up(T, together);
  product p = {.kernels = ((const sb_cpu *)backend->impl)->packed->trellis,
               .w = w,
               .x = x,
               .y = y,
               .T = T,
               .add = add,
               .length = sb_packed_length(tiling),
               .height = height_before(tiling, rows)};
  SB_TRY(scratch_of(backend, &p, few));
#pragma omp parallel num_threads(sb_cpu_threads(backend))
  {
#pragma omp for schedule(static)
    for (size_t k = 0; k < T * columns; k++) prepare(&p, k / columns, k % columns);
#pragma omp for schedule(dynamic, 1)
    for (size_t k = 0; k < w->item_count * across; k++) {
      const size_t from = k % across * together;
      if (few)
        few_item(&p, &w->items[k]);
      else
        many_item(&p, &w->items[k / across], from, sb_min_size(from + together, T));
    }
#pragma omp for schedule(static)
    for (size_t k = 0; k < T * rows; k++) finish(&p, k / rows, k % rows);
  }
  return SB_OK;
}
