/* Reading a Hugging Face folder into the store: every rank the rows it owns,
 * straight from the files. */
#include "folders/hf_load.h"

#include <string.h>

#include "base/memory.h"
#include "base/trace.h"
#include "folders/finite.h"
#include "folders/hf_source.h"
#include "model/factors.h"
#include "model/model.h"
#include "model/model_check.h"

typedef struct reader {
  const sb_hf_source *source;
  bool check_finite;
  void *row;  /* one row, before its columns are put in order */
  void *unit; /* rows of a unit as the file has them, where the store has another type; or NULL */
} reader;

/* Rows of the file that follow one another are read at once. */
static sb_status read_rows(const reader *r, const sb_tensor_info *info, const uint32_t *order,
                           size_t first, size_t rows, size_t row_bytes, char *out) {
  SB_SPAN(SB_TRACE_DISK, "read rows", first);
  if (!order)
    return sb_safetensors_read(r->source->weights, info, first * row_bytes, rows * row_bytes, out);
  for (size_t i = 0, run; i < rows; i += run) {
    const uint32_t *from = order + first + i;
    for (run = 1; i + run < rows && from[run] == from[0] + run;) run++;
    SB_TRY(sb_safetensors_read(r->source->weights, info, from[0] * row_bytes, run * row_bytes,
                               out + i * row_bytes));
  }
  return SB_OK;
}

static void order_columns(void *row, void *room, const uint32_t *order, size_t cols, size_t size) {
  memcpy(room, row, cols * size);
  if (size == 4)
    for (size_t j = 0; j < cols; j++) ((uint32_t *)row)[j] = ((const uint32_t *)room)[order[j]];
  else
    for (size_t j = 0; j < cols; j++) ((uint16_t *)row)[j] = ((const uint16_t *)room)[order[j]];
}

static sb_status read_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                           void *data) {
  const reader *r = context;
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  const sb_tensor_info *info = r->source->tensors[place->tensor];
  const uint32_t *row_order = sb_orders_rows(&m->orders, place->tensor),
                 *col_order = sb_orders_cols(&m->orders, place->tensor);
  const sb_dtype dtype = m->dtypes[place->tensor];
  const size_t row_bytes = t->cols * sb_dtype_size(info->dtype);
  char *read = info->dtype == dtype ? data : r->unit;
  size_t first, rows;
  sb_place_rows(m, place, unit, &first, &rows);
  SB_TRY(read_rows(r, info, row_order, first, rows, row_bytes, read));
  if (r->check_finite) {
    size_t count = rows * t->cols, bad = sb_finite_first_bad(read, info->dtype, count),
           at = first + bad / t->cols;
    if (bad < count)
      return sb_fail(SB_ERR_NUMERIC,
                     "%s: %s[%zu, %zu] is not a finite number; the weights are damaged, fetch or "
                     "convert them again",
                     info->file, t->name, row_order ? row_order[at] : at, bad % t->cols);
  }
  for (size_t i = 0; col_order && i < rows; i++)
    order_columns(read + i * row_bytes, r->row, col_order, t->cols, row_bytes / t->cols);
  if (read != data) sb_to_f32(data, read, info->dtype, rows * t->cols);
  return SB_OK;
}

/* Takes over configuration, architecture and element types, which are all f32 if `as_f32`. */
static sb_status describe(sb_model *m, sb_hf_source *source, bool as_f32) {
  SB_TRY(sb_alloc(&m->dtypes, source->arch.count, sizeof *m->dtypes, "element types"));
  for (size_t i = 0; i < source->arch.count; i++)
    m->dtypes[i] = as_f32 ? SB_F32 : source->tensors[i]->dtype;
  m->config = source->config;
  m->arch = source->arch;
  source->arch = (sb_arch){0};
  return SB_OK;
}

/* Orders are made for an architecture; this one must be it. */
static sb_status take_orders(sb_model *m, const sb_orders *orders) {
  if (!orders) return SB_OK;
  for (size_t i = 0; i < orders->tensors; i++) {
    const sb_model_tensor *t = &m->arch.tensors[i];
    const size_t row = orders->row[i], col = orders->col[i];
    if (orders->tensors != m->arch.count ||
        (row != SB_NO_ORDER && orders->orders[row].size != t->rows) ||
        (col != SB_NO_ORDER && orders->orders[col].size != t->cols))
      return sb_fail(SB_ERR_INTERNAL, "orders of channels do not fit %s", t->name);
  }
  return sb_orders_copy(orders, &m->orders);
}

static sb_status read_all(sb_model *m, const sb_hf_source *source, bool check_finite) {
  SB_SPAN(SB_TRACE_COMPUTE, "load weights", SB_TRACE_NONE);
  size_t widest = 0, unit = 0;
  reader r = {.source = source, .check_finite = check_finite};
  for (size_t i = 0; i < m->arch.count; i++) {
    widest = sb_max_size(widest, sb_model_row_bytes(m, i));
    if (source->tensors[i]->dtype != m->dtypes[i])
      unit = sb_max_size(unit, sb_model_row_bytes(m, i) *
                                   sb_min_size(m->arch.tensors[i].rows, m->blocking.rows));
  }
  sb_status status = sb_alloc_raw(&r.row, widest, 1, "row of a matrix");
  SB_THEN(sb_alloc_raw(&r.unit, unit, 1, "rows of a matrix"));
  SB_THEN(sb_model_visit_owned(m, read_unit, &r));
  sb_free(&r.row);
  sb_free(&r.unit);
  return status;
}

static sb_status load(const sb_world *world, const char *folder, sb_blocking blocking,
                      bool check_finite, bool as_f32, const sb_orders *orders, sb_model **out) {
  sb_hf_source source;
  sb_status status = sb_world_alloc(world, out, sizeof **out, "model");
  SB_TRY(status);
  sb_model *m = *out;
  m->world = world;
  m->blocking = blocking;
  m->coding = SB_CODING_SOURCE;
  status = sb_hf_source_open(world, folder, &source);
  if (status == SB_OK && !orders) sb_hf_source_tell(&source); /* with orders it is read again */
  SB_THEN(describe(m, &source, as_f32));
  SB_THEN(take_orders(m, orders));
  status = sb_world_agree(world, status);
  SB_THEN(sb_model_lay_out(m, NULL, NULL));
  SB_THEN(sb_factors_choose(m));
  SB_THEN(sb_world_agree(world, read_all(m, &source, check_finite)));
  sb_hf_source_close(&source);
  if (status == SB_OK) sb_model_check(m);
  if (status != SB_OK) sb_model_free(out);
  return status;
}

sb_status sb_hf_load(const sb_world *world, const char *folder, sb_blocking blocking,
                     bool check_finite, sb_model **out) {
  return load(world, folder, blocking, check_finite, false, NULL, out);
}

sb_status sb_hf_load_ordered(const sb_world *world, const char *folder, sb_blocking blocking,
                             bool check_finite, const sb_orders *orders, sb_model **out) {
  return load(world, folder, blocking, check_finite, false, orders, out);
}

sb_status sb_hf_load_f32(const sb_world *world, const char *folder, sb_blocking blocking,
                         sb_model **out) {
  return load(world, folder, blocking, true, true, NULL, out);
}
