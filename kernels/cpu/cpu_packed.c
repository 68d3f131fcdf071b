/* Multiplication with packed weights: preparation of the matrix and of x, and the cut of the work.
 * The kernels of cpu_packed.h have the arithmetic. */
#include "kernels/cpu/cpu_packed.h"

#include <omp.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/blockrow.h"
#include "kernels/cpu/cpu_blocks.h"
#include "kernels/cpu/cpu_trellis_decode.h"
#include "kernels/shared/blockrow_layout.h"

const sb_packed_kernels *sb_packed_kernels_at(sb_cpu_level level) {
  static const sb_packed_kernels *const all[SB_CPU_LEVELS] = {&sb_packed_plain, &sb_packed_avx2,
                                                              &sb_packed_avx512};
  return sb_cpu_runs(level) ? all[level] : NULL;
}

/* ---- the matrix ---- */

/* Cuts the matrix into items. An item has up to a quarter of a thread's share of the bytes that are
 * left. So large runs of memory come first, and the last items are small enough that no thread
 * waits long for another. */
static void cut(struct sb_packed_impl *w, size_t bytes, int threads) {
  enum { LEAST = 32 * 1024 };
  const size_t columns = sb_tiling_block_cols(&w->tiling),
               step = sb_is_trellis(w->code_kind) ? SB_STRIP_ROWS : SB_PACKED_STEP;
  for (size_t i = 0; i < sb_tiling_block_rows(&w->tiling); i++) {
    const size_t rows = sb_tiling_rows_of(&w->tiling, i);
    const size_t row_bytes =
        sb_blockrow_bytes(&w->tiling, i, w->bits + i * columns, w->code_kind) / rows + 1;
    for (size_t row = 0; row < rows;) {
      const size_t share = sb_max_size(bytes / (4 * (size_t)threads), LEAST) / row_bytes;
      const size_t steps = sb_max_size(share / step, 1);
      const size_t n = sb_min_size(sb_min_size(steps * step, SB_PACKED_ROWS), rows - row);
      w->items[w->item_count++] = (sb_packed_item){i, row, n};
      bytes -= sb_min_size(bytes, n * row_bytes);
      row += n;
    }
  }
}

/* Bytes of a block where blocks stand. */
static size_t bytes_in_place(size_t rows, size_t cols, unsigned bits, sb_code_kind code_kind) {
  return sb_is_trellis(code_kind) ? sb_block_code_bytes(rows, cols, bits, code_kind)
                                  : sb_block_bytes(rows, cols, bits, code_kind);
}

sb_status sb_cpu_packed_create(sb_backend *backend, sb_stream stream, const uint8_t *packed,
                               const size_t *offsets, const sb_tiling *tiling, const uint8_t *bits,
                               sb_code_kind code_kind, const uint16_t *col_factors,
                               sb_packed *out) {
  (void)stream;
  sb_status status = SB_OK;
  *out = NULL;
  SB_TRY(sb_check_blocks("packed_create", tiling, bits, 1));
  const size_t rows = sb_tiling_block_rows(tiling), columns = sb_tiling_block_cols(tiling);
  const size_t steps =
      rows * sb_div_up(sb_min_size(tiling->block_rows, tiling->rows), SB_PACKED_STEP);
  struct sb_packed_impl *w = NULL;
  SB_TRY(sb_alloc(&w, 1, sizeof *w, "packed matrix"));
  w->packed = packed;
  w->tiling = *tiling;
  w->code_kind = code_kind;
  w->col_factors = col_factors;
  SB_GO(sb_alloc(&w->bits, rows * columns, 1, "bits of a packed matrix"));
  SB_GO(sb_alloc(&w->frames, rows, sizeof *w->frames, "block rows of a packed matrix"));
  SB_GO(sb_alloc(&w->blocks, rows * columns, sizeof *w->blocks, "blocks of a packed matrix"));
  SB_GO(sb_alloc(&w->items, steps, sizeof *w->items, "work on a packed matrix"));
  memcpy(w->bits, bits, rows * columns);
  memcpy(w->frames, offsets, rows * sizeof *offsets);
  size_t bytes = 0;
  for (size_t i = 0; i < rows; i++) {
    const size_t height = sb_tiling_rows_of(tiling, i);
    size_t at = offsets[i] + sb_blockrow_head_of(columns, height, code_kind).codes;
    if (!sb_blockrow_has_bits(packed + offsets[i], tiling, bits + i * columns, code_kind))
      SB_GO(sb_fail(SB_ERR_INTERNAL,
                    "packed_create: block row %zu was packed with other bits than the bit map says",
                    i));
    for (size_t j = 0; j < columns; j++) {
      w->blocks[i * columns + j] = at;
      at += bytes_in_place(height, sb_tiling_cols_of(tiling, j), bits[i * columns + j], code_kind);
    }
    bytes += at - offsets[i];
  }
  cut(w, bytes, sb_cpu_threads(backend));
  *out = w;
done:
  if (status != SB_OK) sb_cpu_packed_destroy(backend, w);
  return status;
}

void sb_cpu_packed_destroy(sb_backend *backend, sb_packed w) {
  (void)backend;
  if (!w) return;
  sb_free(&w->bits);
  sb_free(&w->frames);
  sb_free(&w->blocks);
  sb_free(&w->items);
  sb_free(&w);
}

/* ---- one product ---- */

typedef struct product {
  const sb_packed_kernels *kernels;
  const struct sb_packed_impl *w;
  const float *x;
  float *y;
  size_t T, rows, cols, columns, length;
  bool add;
  float *prepared, *sums; /* x in the order of pieces (cpu_packed.h), and its sums */
  float *scratch;         /* one part per thread */
  size_t scratch_size;
} product;

/* ---- x in the order of pieces ---- */

/* The place of column c in the order of pieces, if consecutive steps are `step` floats apart. */
static size_t place_of(size_t c, size_t step) {
  return (c / SB_PACKED_PIECE * 8 + c % 8) * step + c % SB_PACKED_PIECE / 8;
}

/* Prepares the part of x that block column j meets, for `few`: tokens lie side by side in every
 * step. Tokens beyond T are 0. */
static void prepare_steps(const product *p, size_t j, size_t padded) {
  const sb_tiling *tiling = &p->w->tiling;
  float *to = p->prepared + sb_packed_start(tiling, j) * padded;
  memset(to, 0, sb_packed_width(tiling, j) * padded * sizeof *to);
  for (size_t t = 0; t < p->T; t++) {
    const float *x = p->x + t * p->cols + j * tiling->block_cols;
    for (size_t c = 0; c < sb_tiling_cols_of(tiling, j); c++)
      to[place_of(c, 16 * padded) + 16 * t] = x[c];
  }
}

/* Prepares the sums of x over block column j, which offsets multiply. */
static void prepare_sums(const product *p, size_t j, size_t padded) {
  const sb_tiling *tiling = &p->w->tiling;
  for (size_t t = 0; t < padded; t++) {
    const float *x = p->x + t * p->cols + j * tiling->block_cols;
    double sum = 0.0;
    for (size_t c = 0; t < p->T && c < sb_tiling_cols_of(tiling, j); c++) sum += (double)x[c];
    p->sums[j * padded + t] = (float)sum;
  }
}

/* Number of tokens in the group from `first` on, rounded up to whole vectors. */
static size_t group_width(const product *p, size_t first) {
  const size_t lanes = p->kernels->lanes;
  return sb_div_up(sb_min_size(p->kernels->group, p->T - first), lanes) * lanes;
}

/* Prepares the part of x that block column j meets, for `multiply`: groups of tokens, each
 * [length, width of the group]. */
static void prepare_groups(const product *p, size_t j) {
  const sb_tiling *tiling = &p->w->tiling;
  for (size_t first = 0; first < p->T; first += p->kernels->group) {
    const size_t width = group_width(p, first);
    float *to = p->prepared + first * p->length + sb_packed_start(tiling, j) * width;
    memset(to, 0, sb_packed_width(tiling, j) * width * sizeof *to);
    for (size_t t = 0; t < width && first + t < p->T; t++) {
      const float *x = p->x + (first + t) * p->cols + j * tiling->block_cols;
      for (size_t c = 0; c < sb_tiling_cols_of(tiling, j); c++)
        to[place_of(c, 16) * width + t] = x[c];
    }
  }
}

/* ---- results and scratch ---- */

/* Stores or adds out[rows, width] to y, for the item's rows and the tokens from `first` on. */
static void put_out(const product *p, const sb_packed_item *item, const float *out, size_t first,
                    size_t width) {
  const size_t row = item->i * p->w->tiling.block_rows + item->row;
  for (size_t t = 0; t < width && first + t < p->T; t++) {
    float *y = p->y + (first + t) * p->rows + row;
    for (size_t r = 0; r < item->rows; r++) y[r] = out[r * width + t] + (p->add ? y[r] : 0.0f);
  }
}

static float *own_scratch(const product *p) {
  return p->scratch + (size_t)omp_get_thread_num() * p->scratch_size;
}

static sb_status scratch_of(sb_backend *backend, product *p, size_t prepared, size_t sums,
                            size_t size) {
  const size_t line = 64 / sizeof(float);
  p->scratch_size = sb_div_up(size, line) * line;
  SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_SHARED, sb_div_up(prepared, line) * line + sums,
                        sizeof(float), &p->prepared));
  p->sums = p->prepared + sb_div_up(prepared, line) * line;
  return sb_cpu_scratch(backend, SB_CPU_SLOT_THREADS,
                        p->scratch_size * (size_t)sb_cpu_threads(backend), sizeof(float),
                        &p->scratch);
}

/* ---- few tokens: one pass over the packed bytes ---- */

static sb_status few_tokens(sb_backend *backend, product *p) {
  size_t padded = 1;
  while (padded < p->T) padded *= 2;
  SB_TRY(scratch_of(backend, p, padded * p->length, padded * p->columns,
                    SB_PACKED_SCRATCH + SB_PACKED_ROWS * SB_PACKED_FEW));
  const sb_packed_input input = {p->prepared, p->sums, padded};
#pragma omp parallel num_threads(sb_cpu_threads(backend))
  {
#pragma omp for schedule(static)
    for (size_t j = 0; j < p->columns; j++) {
      prepare_steps(p, j, padded);
      prepare_sums(p, j, padded);
    }
#pragma omp for schedule(dynamic, 1)
    for (size_t k = 0; k < p->w->item_count; k++) {
      float *scratch = own_scratch(p), *out = scratch + SB_PACKED_SCRATCH;
      p->kernels->few(out, p->w, &p->w->items[k], &input, scratch);
      put_out(p, &p->w->items[k], out, 0, padded);
    }
  }
  return SB_OK;
}

/* ---- more tokens: blocks are decoded, then multiplied ---- */

/* The rows of an item times the tokens [from, end); `from` is the start of a group. */
static void many_item(const product *p, const sb_packed_item *item, size_t from, size_t end) {
  const sb_tiling *tiling = &p->w->tiling;
  const size_t rows = sb_div_up(item->rows, 8) * 8, ld = sb_packed_width(tiling, 0),
               group = p->kernels->group;
  float *tile = own_scratch(p), *out = tile + SB_PACKED_ROWS * ld;
  memset(out, 0, rows * (end - from + p->kernels->lanes) * sizeof *out);
  memset(tile + item->rows * ld, 0, (rows - item->rows) * ld * sizeof *tile);
  for (size_t j = 0; j < p->columns; j++) {
    p->kernels->decode(tile, ld, p->w, item, j);
    for (size_t first = from; first < end; first += group) {
      const size_t width = group_width(p, first);
      p->kernels->multiply(out + (first - from) * rows, tile, ld,
                           p->prepared + first * p->length + sb_packed_start(tiling, j) * width,
                           rows, sb_packed_width(tiling, j), width);
    }
  }
  for (size_t first = from; first < end; first += group)
    put_out(p, item, out + (first - from) * rows, first, group_width(p, first));
}

/* Groups of tokens per decoding of a block; further groups decode it again. */
enum { GROUPS = 8 };

static sb_status many_tokens(sb_backend *backend, product *p) {
  const size_t together = GROUPS * p->kernels->group, across = sb_div_up(p->T, together);
  SB_TRY(scratch_of(backend, p, (p->T + p->kernels->lanes) * p->length, 0,
                    SB_PACKED_ROWS * (sb_packed_width(&p->w->tiling, 0) +
                                      sb_min_size(p->T, together) + p->kernels->lanes)));
#pragma omp parallel num_threads(sb_cpu_threads(backend))
  {
#pragma omp for schedule(static)
    for (size_t j = 0; j < p->columns; j++) prepare_groups(p, j);
#pragma omp for schedule(dynamic, 1)
    for (size_t k = 0; k < p->w->item_count * across; k++) {
      const size_t from = k % across * together;
      many_item(p, &p->w->items[k / across], from, sb_min_size(from + together, p->T));
    }
  }
  return SB_OK;
}

sb_status sb_cpu_packed_gemm(sb_backend *backend, sb_stream stream, void *y, const void *x,
                             size_t T, sb_packed w, bool add) {
  (void)stream;
  const double start = sb_now();
  const sb_cpu *cpu = backend->impl;
  const float *floats;
  SB_TRY(sb_cpu_floats(backend, x, T * w->tiling.cols, &floats));
  product p = {.kernels = cpu->packed,
               .w = w,
               .x = floats,
               .y = y,
               .T = T,
               .rows = w->tiling.rows,
               .cols = w->tiling.cols,
               .columns = sb_tiling_block_cols(&w->tiling),
               .length = sb_packed_length(&w->tiling),
               .add = add};
  if (sb_is_trellis(w->code_kind))
    SB_TRY(sb_cpu_packed_trellis(backend, w, y, floats, T, add));
  else
    SB_TRY(T <= SB_PACKED_FEW ? few_tokens(backend, &p) : many_tokens(backend, &p));
  backend->gemm_flops += 2.0 * (double)T * (double)w->tiling.rows * (double)w->tiling.cols;
  backend->gemm_seconds += sb_now() - start;
  return SB_OK;
}
