#include "quant/round_stack.h"

#include <string.h>

#include "base/memory.h"
#include "kernels/shared/trellis.h"

struct sb_round_stack {
  sb_round_setup setup;
  sb_stack stack; /* arrays on the device */
  size_t *starts; /* [count + 1]: what `stack` points to */
  size_t added;
  float *w;              /* what is left to round, then the residual */
  float *target;         /* the weights, where they are to be refined */
  uint16_t *row_factors; /* [rows] in trellis codes */
  uint8_t *bits, *bits_dev;
  void *raw, *panel; /* on a device of its own: what has just come */
  size_t raw_bytes, panel_bytes;
  bool refining; /* w is the residual */
  sb_grid
      *grids; /* host copy of all grids, for sb_round_stack_get; not where the device is the host */
  bool has_grids; /* it is as on the device */
};

static sb_status device_alloc(sb_round_stack *s, size_t count, size_t size, const char *what,
                              void *out) {
  void **pointer = out;
  size_t bytes;
  if (!sb_mul_size(count, size, &bytes))
    return sb_fail(SB_ERR_MEMORY, "%s: %zu items of %zu bytes overflow", what, count, size);
  return s->setup.backend->op->alloc(s->setup.backend, bytes, what, pointer);
}

/* *dev = the bytes at `host`, for operations queued from now on. */
static sb_status bring(sb_round_stack *s, const void *host, size_t bytes, void **buffer,
                       size_t *room, const void **dev) {
  sb_backend *b = s->setup.backend;
  *dev = host;
  if (b->unified) return SB_OK;
  if (bytes > *room) {
    SB_TRY(b->op->sync(b, s->setup.stream));
    b->op->free(b, *buffer);
    *buffer = NULL;
    *room = 0;
    SB_TRY(b->op->alloc(b, bytes, "weights to round and their second moments", buffer));
    *room = bytes;
  }
  *dev = *buffer;
  return b->op->upload(b, s->setup.stream, *buffer, host, bytes);
}

size_t sb_round_stack_bytes(const sb_round_setup *setup) {
  const sb_round_stack s = {0};
  const size_t weights = setup->rows * setup->cols,
               groups = setup->rows * sb_div_up(setup->cols, setup->block_cols);
  return sizeof s + (setup->count + 1) * sizeof *s.starts +
         groups * (2 + sizeof(sb_grid)) + /* bits, on the host and on the device */
         (sb_is_trellis(setup->code_kind) ? setup->rows * sizeof *s.row_factors : 0) +
         weights * (1 + sizeof *s.w + (setup->refine ? sizeof *s.target : 0));
}

sb_status sb_round_stack_create(const sb_round_setup *setup, sb_round_stack **out) {
  sb_round_stack *s = NULL;
  sb_status status;
  size_t weights = 0, groups = 0;
  *out = NULL;
  SB_TRY(sb_alloc(&s, 1, sizeof *s, "rows to round"));
  s->setup = *setup;
  s->stack = (sb_stack){.rows = setup->rows,
                        .cols = setup->cols,
                        .block_cols = setup->block_cols,
                        .count = setup->count,
                        .code_kind = setup->code_kind};
  if (!sb_mul_size(setup->rows, setup->cols, &weights) ||
      !sb_mul_size(setup->rows, sb_div_up(setup->cols, setup->block_cols), &groups))
    SB_GO(sb_fail(SB_ERR_MEMORY, "%zu rows of %zu weights overflow", setup->rows, setup->cols));
  SB_GO(sb_alloc(&s->starts, setup->count + 1, sizeof *s->starts, "rows to round"));
  s->stack.starts = s->starts;
  if (setup->rows > 0) {
    SB_GO(sb_alloc_raw(&s->bits, groups, 1, "bit map of the rows to round"));
    SB_GO(device_alloc(s, groups, 1, "bit map of the rows to round", &s->bits_dev));
    SB_GO(device_alloc(s, groups, sizeof(sb_grid), "grids of the rows to round", &s->stack.grids));
    SB_GO(device_alloc(s, weights, 1, "codes of the rows to round", &s->stack.codes));
    SB_GO(device_alloc(s, weights, sizeof *s->w, "rows to round", &s->w));
    if (sb_is_trellis(setup->code_kind))
      SB_GO(device_alloc(s, setup->rows, sizeof *s->row_factors, "factors of rows to round",
                         &s->row_factors));
    if (setup->refine)
      SB_GO(device_alloc(s, weights, sizeof *s->target, "rows to refine", &s->target));
  }
  s->stack.bits = s->bits_dev;
  *out = s;
  return SB_OK;
done:
  sb_round_stack_free(&s);
  return status;
}

void sb_round_stack_free(sb_round_stack **stack) {
  sb_round_stack *s = *stack;
  if (!s) return;
  sb_backend *b = s->setup.backend;
  void *device[] = {s->bits_dev, s->stack.grids, s->stack.codes, s->w,
                    s->target,   s->row_factors, s->raw,         s->panel};
  for (size_t k = 0; k < sizeof device / sizeof *device; k++) b->op->free(b, device[k]);
  sb_free(&s->starts);
  sb_free(&s->bits);
  sb_free(&s->grids);
  sb_free(stack);
}

/* The block row's weights, or their S, become rows of the stack from `first` on. */
static sb_status fill_rows(sb_round_stack *s, const sb_round_rows *rows, size_t first) {
  sb_backend *b = s->setup.backend;
  const size_t cols = s->setup.cols, weights = rows->rows * cols;
  float *to = s->w + first * cols;
  const void *w_dev;
  SB_TRY(bring(s, rows->w, weights * sb_dtype_size(rows->dtype), &s->raw, &s->raw_bytes, &w_dev));
  if (!sb_is_trellis(s->setup.code_kind))
    return b->op->convert(b, s->setup.stream, to, SB_F32, w_dev, rows->dtype, weights);
  const sb_tiling tiling = {rows->rows, cols, rows->rows, s->setup.block_cols};
  return b->op->trellis_transform(b, s->setup.stream, to, s->row_factors + first,
                                  &(sb_block_weights){.w = w_dev,
                                                      .dtype = rows->dtype,
                                                      .tiling = &tiling,
                                                      .bits = rows->bits,
                                                      .code_kind = s->setup.code_kind},
                                  rows->first_row, rows->row_key, rows->col_factors);
}

sb_status sb_round_stack_add(sb_round_stack *s, const sb_round_rows *rows) {
  sb_backend *b = s->setup.backend;
  const size_t cols = s->setup.cols, first = s->starts[s->added];
  const size_t columns = sb_div_up(cols, s->setup.block_cols);
  if (s->added == s->setup.count || first + rows->rows > s->setup.rows)
    return sb_fail(SB_ERR_INTERNAL, "more rows to round than the %zu that were said",
                   s->setup.rows);
  s->starts[++s->added] = first + rows->rows;
  for (size_t j = 0; j < columns; j++)
    memset(s->bits + j * s->setup.rows + first, rows->bits[j], rows->rows);
  SB_TRY(fill_rows(s, rows, first));
  if (s->target)
    SB_TRY(b->op->copy(b, s->setup.stream, s->target + first * cols, s->w + first * cols,
                       rows->rows * cols * sizeof *s->w));
  if (s->added == s->setup.count)
    SB_TRY(b->op->upload(b, s->setup.stream, s->bits_dev, s->bits, columns * s->setup.rows));
  return b->op->sync(b, s->setup.stream); /* the rows may go */
}

/* The panel, of `count` floats, on the device. */
static sb_status bring_panel(sb_round_stack *s, const float *panel, size_t count,
                             const float **dev) {
  const void *at = NULL;
  *dev = panel;
  if (s->setup.panels_dev) return SB_OK;
  SB_TRY(bring(s, panel, count * sizeof *panel, &s->panel, &s->panel_bytes, &at));
  *dev = at;
  return SB_OK;
}

/* The panel may go. */
static sb_status settle(sb_round_stack *s, sb_status status) {
  const sb_status after = s->setup.backend->op->sync(s->setup.backend, s->setup.stream);
  return status == SB_OK ? after : status;
}

sb_status sb_round_stack_round(sb_round_stack *s, size_t begin, size_t end, const float *panel,
                               size_t ld, bool fitted) {
  sb_backend *b = s->setup.backend;
  const float *panel_dev;
  s->has_grids = false;
  if (s->setup.rows == 0 || begin == end) return SB_OK;
  SB_TRY(bring_panel(s, panel, (end - begin - 1) * ld + s->setup.cols - begin, &panel_dev));
  if (sb_is_trellis(s->setup.code_kind))
    return settle(
        s, b->op->trellis_round(b, s->setup.stream, &s->stack, s->w, begin, end, panel_dev, ld));
  return settle(s, b->op->round_columns(b, s->setup.stream, &s->stack, s->w, begin, end, panel_dev,
                                        ld, fitted));
}

sb_status sb_round_stack_residual(sb_round_stack *s, size_t begin, size_t end, const float *panel) {
  sb_backend *b = s->setup.backend;
  const float *panel_dev;
  if (s->setup.rows == 0) return SB_OK;
  if (!s->refining)
    SB_TRY(b->op->zero(b, s->setup.stream, s->w, s->setup.rows * s->setup.cols * sizeof *s->w));
  s->refining = true;
  SB_TRY(bring_panel(s, panel, (end - begin) * s->setup.cols, &panel_dev));
  return settle(s, b->op->refine_residual(b, s->setup.stream, &s->stack, s->w, s->target, begin,
                                          end, panel_dev));
}

sb_status sb_round_stack_refine(sb_round_stack *s, size_t begin, size_t end, const float *panel) {
  sb_backend *b = s->setup.backend;
  const float *panel_dev;
  s->has_grids = false;
  if (s->setup.rows == 0) return SB_OK;
  SB_TRY(bring_panel(s, panel, (end - begin) * s->setup.cols, &panel_dev));
  return settle(s,
                b->op->refine_columns(b, s->setup.stream, &s->stack, s->w, begin, end, panel_dev));
}

/* Grids of a block row lie apart, one piece per block column: on a device of its own all of them
 * come in one download, and not in thousands of a few KiB. */
static sb_status fetch_grids(sb_round_stack *s, const sb_grid **grids) {
  sb_backend *b = s->setup.backend;
  const size_t count = s->setup.rows * sb_div_up(s->setup.cols, s->setup.block_cols);
  *grids = b->unified ? s->stack.grids : s->grids;
  if (b->unified || s->has_grids) return SB_OK;
  if (!s->grids) SB_TRY(sb_alloc_raw(&s->grids, count, sizeof *s->grids, "grids of rounded rows"));
  SB_TRY(b->op->download(b, s->setup.stream, s->grids, s->stack.grids, count * sizeof *s->grids));
  *grids = s->grids;
  s->has_grids = true;
  return SB_OK;
}

sb_status sb_round_stack_get(sb_round_stack *s, size_t k, sb_grid *grids, uint8_t *codes,
                             uint16_t *row_factors) {
  sb_backend *b = s->setup.backend;
  const size_t first = s->starts[k], rows = s->starts[k + 1] - first, cols = s->setup.cols;
  const sb_grid *all;
  SB_TRY(fetch_grids(s, &all));
  SB_TRY(b->op->download(b, s->setup.stream, codes, s->stack.codes + first * cols, rows * cols));
  if (s->row_factors)
    SB_TRY(b->op->download(b, s->setup.stream, row_factors, s->row_factors + first,
                           rows * sizeof *row_factors));
  SB_TRY(b->op->sync(b, s->setup.stream));
  for (size_t j = 0; j < sb_div_up(cols, s->setup.block_cols); j++)
    memcpy(grids + j * rows, all + j * s->setup.rows + first, rows * sizeof *grids);
  return SB_OK;
}
