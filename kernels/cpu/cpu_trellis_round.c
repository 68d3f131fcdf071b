/* Rounding to trellis codes with feedback: kernels/ops/trellis.h has the method.
 *
 * Block column by block column. First every block gets its scale, from its weights as they are by
 * then. Then strips of rows go through the block's tile columns, each by itself; the errors of a
 * tile column correct the rest of the block at once, and one product per strip corrects the columns
 * behind the block. */
#include <cblas.h>
#include <omp.h>

#include "base/memory.h"
#include "kernels/cpu/cpu.h"
#include "kernels/shared/checks.h"
#include "kernels/shared/trellis_scale.h"
#include "kernels/trellis_coder.h"

/* Rows that go through a block together: whole tiles of every kind. */
enum { STRIP = 64, MOST_TILE_COLS = 16 };

typedef struct job {
  const sb_stack *stack;
  float *w;
  size_t begin;
  const float *panel;
  size_t ld;
  const sb_trellis_coder *coders; /* one per thread */
  float *rooms;                   /* [threads][strip_room] */
} job;

/* Rows [first, first + rows) of a stack, inside one block row. */
typedef struct rows_of {
  size_t first, rows;
} rows_of;

/* Columns [first, first + cols) of block column j, and the rows of the factor from its own on. */
typedef struct block_col {
  size_t j, first, cols;
  const float *factor; /* element (r, c) of the block on the diagonal at r * ld + c */
} block_col;

static size_t strip_room(const sb_stack *stack) {
  return STRIP * (stack->block_cols + MOST_TILE_COLS);
}

static size_t strips_of(const sb_stack *stack) {
  size_t strips = 0;
  for (size_t i = 0; i < stack->count; i++)
    strips += sb_div_up(stack->starts[i + 1] - stack->starts[i], STRIP);
  return strips;
}

/* Strip number k, in the order of rows. O(block rows). */
static rows_of strip_of(const sb_stack *stack, size_t k) {
  size_t i = 0;
  for (;; i++) {
    const size_t strips = sb_div_up(stack->starts[i + 1] - stack->starts[i], STRIP);
    if (k < strips) break;
    k -= strips;
  }
  const size_t first = stack->starts[i] + k * STRIP;
  return (rows_of){first, sb_min_size(STRIP, stack->starts[i + 1] - first)};
}

/* ---- scales ---- */

/* The sum of the squares of a row, in sixteen sums. */
static double squares_of(const float *x, size_t n) {
  double sums[SB_GROUP_LANES] = {0};
  for (size_t c = 0; c < n; c++) sums[c % SB_GROUP_LANES] += (double)x[c] * (double)x[c];
  for (size_t half = SB_GROUP_LANES / 2; half > 0; half /= 2)
    for (size_t i = 0; i < half; i++) sums[i] += sums[i + half];
  return sums[0];
}

static void choose_scale(const job *a, const block_col *b, size_t i) {
  const sb_stack *stack = a->stack;
  const size_t first = stack->starts[i], rows = stack->starts[i + 1] - first,
               group = b->j * stack->rows + first;
  double squares = 0;
  for (size_t r = first; r < first + rows; r++)
    squares += squares_of(a->w + r * stack->cols + b->first, b->cols);
  const float scale = sb_grid_from_fp16(
      sb_trellis_scale_with(stack->code_kind, stack->bits[group],
                            sb_trellis_feedback_gain(stack->bits[group]), squares, rows * b->cols));
  for (size_t r = 0; r < rows; r++) stack->grids[group + r] = (sb_grid){.scale = scale};
}

/* ---- one strip of a block ---- */

/* error [rows, n] of the columns [at, at + n) of a block: from the differences of weights and
 * values to what later columns are corrected by, e U = difference with U the factor's block. */
static void solve(const block_col *b, size_t ld, size_t at, size_t n, size_t rows, float *error) {
  for (size_t r = 0; r < rows; r++) {
    float *e = error + r * b->cols + at;
    for (size_t j = 0; j < n; j++) {
      float x = e[j];
      for (size_t k = 0; k < j; k++) x = fmaf(-e[k], b->factor[(at + k) * ld + at + j], x);
      e[j] = x / b->factor[(at + j) * ld + at + j];
    }
  }
}

/* The columns of the block behind [at, at + n) make up for its errors. */
static void correct(const block_col *b, size_t ld, size_t at, size_t n, size_t rows,
                    const float *error, float *w, size_t w_ld) {
  for (size_t r = 0; r < rows; r++)
    for (size_t k = at; k < at + n; k++) {
      const float e = error[r * b->cols + k], *factor = b->factor + k * ld;
      float *row = w + r * w_ld;
      for (size_t c = at + n; c < b->cols; c++) row[c] = fmaf(-e, factor[c], row[c]);
    }
}

static void round_strip(const job *a, const block_col *b, rows_of strip) {
  const sb_stack *stack = a->stack;
  const size_t group = b->j * stack->rows + strip.first, cols = stack->cols,
               behind = b->first + b->cols;
  const int thread = omp_get_thread_num();
  const sb_trellis t = sb_trellis_of(stack->code_kind, stack->bits[group]);
  float *error = a->rooms + (size_t)thread * strip_room(stack),
        *value = error + STRIP * stack->block_cols, *w = a->w + strip.first * cols + b->first;
  uint8_t *codes = stack->codes + strip.first * cols + b->first;
  for (size_t at = 0; at < b->cols; at += t.tile_cols) {
    const size_t n = sb_min_size(t.tile_cols, b->cols - at);
    sb_viterbi_panel(a->coders[thread].of[t.width], stack->grids[group].scale, strip.rows, n,
                     w + at, cols, codes + at, cols, value, n);
    for (size_t r = 0; r < strip.rows; r++)
      for (size_t c = 0; c < n; c++)
        error[r * b->cols + at + c] = w[r * cols + at + c] - value[r * n + c];
    solve(b, a->ld, at, n, strip.rows, error);
    correct(b, a->ld, at, n, strip.rows, error, w, cols);
  }
  if (behind < cols)
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)strip.rows, (int)(cols - behind),
                (int)b->cols, -1.0f, error, (int)b->cols, b->factor + b->cols, (int)a->ld, 1.0f,
                w + b->cols, (int)cols);
}

/* ---- all of a panel ---- */

static void round_block_column(const job *a, const block_col *b, int threads) {
  const size_t strips = strips_of(a->stack);
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(static)
    for (size_t i = 0; i < a->stack->count; i++) choose_scale(a, b, i);
#pragma omp for schedule(dynamic, 1)
    for (size_t k = 0; k < strips; k++) round_strip(a, b, strip_of(a->stack, k));
  }
}

static sb_status round_panel(job *a, size_t end, int threads, sb_trellis_coder **coders) {
  const sb_stack *stack = a->stack;
  const size_t columns = sb_div_up(stack->cols, stack->block_cols);
  SB_TRY(sb_trellis_coders_create((size_t)threads, stack->code_kind, stack->bits,
                                  columns * stack->rows, coders));
  a->coders = *coders;
  for (size_t first = a->begin; first < end; first += stack->block_cols) {
    const block_col b = {first / stack->block_cols, first,
                         sb_min_size(stack->block_cols, stack->cols - first),
                         a->panel + (first - a->begin) * a->ld + first - a->begin};
    round_block_column(a, &b, threads);
  }
  return SB_OK;
}

sb_status sb_cpu_trellis_round(sb_backend *backend, sb_stream stream, const sb_stack *stack,
                               float *w, size_t begin, size_t end, const float *panel, size_t ld) {
  job a = {.stack = stack, .w = w, .begin = begin, .panel = panel, .ld = ld};
  const int threads = sb_cpu_threads(backend);
  sb_trellis_coder *coders = NULL;
  (void)stream;
  SB_TRY(sb_check_stack("trellis_round", stack, begin, end));
  if (!sb_is_trellis(stack->code_kind))
    return sb_fail(SB_ERR_INTERNAL, "trellis_round: the codes are grids");
  SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_THREADS, strip_room(stack) * (size_t)threads,
                        sizeof *a.rooms, &a.rooms));
  const sb_status status = round_panel(&a, end, threads, &coders);
  sb_trellis_coders_free((size_t)threads, &coders);
  return status;
}
