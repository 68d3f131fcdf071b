#include "quant/encode.h"

#include <omp.h>
#include <string.h>

#include "base/memory.h"
#include "base/trace.h"
#include "kernels/blockrow.h"
#include "model/model_check.h"
#include "pass/group_walk.h"

static size_t coded_bytes(const void *context, const sb_model *m, const sb_place *place,
                          size_t unit) {
  const sb_model *source = context;
  const sb_matrix *matrix = sb_model_place_matrix(m, place);
  if (!matrix) {
    size_t first, rows;
    sb_place_rows(m, place, unit, &first, &rows);
    return rows * sb_model_row_bytes(m, place->tensor);
  }
  const size_t row = sb_place_block_row(m, place, unit);
  const uint8_t *bits =
      source->bits + matrix->first_block + row * sb_tiling_block_cols(&matrix->tiling);
  return sb_blockrow_bytes(&matrix->tiling, row, bits, sb_model_code_kind(m, matrix));
}

static sb_status copy_factors(const sb_model *source, sb_model *m) {
  if (!source->col_factors) return SB_OK;
  SB_TRY(sb_alloc_raw(&m->col_factors, m->arch.channels, sizeof *m->col_factors,
                      "factors of columns"));
  memcpy(m->col_factors, source->col_factors, m->arch.channels * sizeof *m->col_factors);
  return SB_OK;
}

sb_status sb_encode_create(const sb_model *source, sb_model **out) {
  const sb_world *world = source->world;
  sb_status status = sb_world_alloc(world, out, sizeof **out, "coded model");
  SB_TRY(status);
  sb_model *m = *out;
  m->world = world;
  m->config = source->config;
  m->blocking = source->blocking;
  m->coding = SB_CODING_CODES;
  status = sb_arch_create_of(source->arch.family, &m->config, &m->arch);
  SB_THEN(sb_alloc(&m->dtypes, m->arch.count, sizeof *m->dtypes, "element types"));
  if (status == SB_OK) memcpy(m->dtypes, source->dtypes, m->arch.count * sizeof *m->dtypes);
  SB_THEN(sb_orders_copy(&source->orders, &m->orders));
  SB_THEN(copy_factors(source, m));
  SB_AGREE(world, status);
  for (size_t i = 0; i < SB_TABLES; i++) m->tables[i].coded = source->tables[i].coded;
  SB_TRY(sb_model_lay_out(m, coded_bytes, source));
  memcpy(m->bits, source->bits, m->all_blocks);
  return SB_OK;
}

/* ---- a group of the store ---- */

/* A unit of the coded group that this rank owns: `from` in the source's image, `to`
 * in the coded store. */
typedef struct unit {
  const sb_place *place;
  size_t index; /* within its place */
  const char *from;
  uint8_t *to;
} unit;

/* The units that this rank owns of a group are a run. */
typedef struct units {
  const sb_model *source;
  sb_model *coded;
  size_t group, place, next, end;
  const char *image;
} units;

static units units_of(const sb_model *source, sb_model *coded, size_t group, const void *image) {
  units u = {source, coded, group, coded->group_place[group], 0, 0, image};
  sb_store_owned(coded->store, group, coded->world->rank, &u.next, &u.end);
  return u;
}

static bool next_unit(units *u, unit *out) {
  if (u->next >= u->end) return false;
  const sb_place *place = &u->coded->places[u->place];
  while (u->next >= place->first_unit + place->units) place = &u->coded->places[++u->place];
  *out = (unit){place, u->next - place->first_unit,
                u->image + sb_store_offset(u->source->store, u->group, u->next),
                sb_store_unit(u->coded->store, u->group, u->next)};
  u->next++;
  return true;
}

sb_status sb_encode_visit(const sb_model *source, sb_model *coded, size_t group, const void *image,
                          sb_encode_visitor visit, void *context) {
  units all = units_of(source, coded, group, image);
  for (unit u; next_unit(&all, &u);) {
    const sb_matrix *matrix = sb_model_place_matrix(coded, u.place);
    if (!matrix) continue;
    const size_t index = sb_place_block_row(coded, u.place, u.index);
    const sb_encode_row row = {.matrix = matrix,
                               .index = index,
                               .bits = coded->bits + matrix->first_block +
                                       index * sb_tiling_block_cols(&matrix->tiling),
                               .weights = u.from,
                               .dtype = source->dtypes[u.place->tensor],
                               .importance = sb_model_importance(source, matrix),
                               .code_kind = sb_model_code_kind(coded, matrix),
                               .row_key = sb_model_row_key(coded, matrix),
                               .col_factors = sb_model_col_factors(coded, matrix),
                               .to = u.to};
    SB_TRY(visit(context, &row));
  }
  return SB_OK;
}

void sb_encode_copy(const sb_model *source, sb_model *coded, size_t group, const void *image) {
  units all = units_of(source, coded, group, image);
  for (unit u; next_unit(&all, &u);) {
    size_t first, rows;
    if (sb_model_place_matrix(coded, u.place)) continue;
    sb_place_rows(coded, u.place, u.index, &first, &rows);
    memcpy(u.to, u.from, rows * sb_model_row_bytes(coded, u.place->tensor));
  }
}

void sb_encode_codes(const sb_encode_row *row, const sb_grid *grids, const uint8_t *codes,
                     const uint16_t *row_factors) {
  sb_blockrow_pack(row->to, grids, codes, &row->matrix->tiling, row->index, row->bits,
                   row->code_kind, row_factors);
}

/* ---- to nearest ---- */

/* The block rows of a group that this rank owns. */
typedef struct rows {
  sb_encode_row *at; /* [most of a group] */
  size_t count;
} rows;

static sb_status collect(void *context, const sb_encode_row *row) {
  rows *r = context;
  r->at[r->count++] = *row;
  return SB_OK;
}

static void encode_row(const sb_encode_row *row, const sb_trellis_coder *coder) {
  const sb_tiling *tiling = &row->matrix->tiling;
  if (sb_is_trellis(row->code_kind))
    sb_blockrow_encode_trellis(row->to, row->weights, row->dtype, tiling, row->index, row->bits,
                               row->code_kind, row->row_key, row->col_factors, coder);
  else
    sb_blockrow_encode(row->to, row->weights, row->dtype, tiling, row->index, row->bits,
                       row->code_kind, row->importance);
}

/* `coders`: one per thread; NULL on grids. */
static sb_status encode_group(const sb_model *source, sb_model *coded, size_t group,
                              const void *image, rows *r, const sb_trellis_coder *coders) {
  r->count = 0;
  sb_encode_copy(source, coded, group, image);
  SB_TRY(sb_encode_visit(source, coded, group, image, collect, r));
#pragma omp parallel for schedule(dynamic)
  for (size_t i = 0; i < r->count; i++)
    encode_row(&r->at[i], coders ? &coders[omp_get_thread_num()] : NULL);
  return SB_OK;
}

sb_status sb_encode_nearest_group(const sb_model *source, sb_model *coded, size_t group,
                                  const void *image) {
  size_t first, end;
  rows r = {0};
  sb_store_owned(coded->store, group, coded->world->rank, &first, &end);
  sb_status status = sb_alloc(&r.at, end - first, sizeof *r.at, "block rows");
  SB_THEN(encode_group(source, coded, group, image, &r, NULL));
  sb_free(&r.at);
  return status;
}

static size_t most_units(const sb_model *m) {
  size_t most = 0;
  for (size_t group = 0; group < m->groups; group++) {
    size_t own, end;
    sb_store_owned(m->store, group, m->world->rank, &own, &end);
    most = sb_max_size(most, end - own);
  }
  return most;
}

/* Collective. */
static sb_status encode_all(sb_model *source, sb_model *coded) {
  SB_SPAN(SB_TRACE_COMPUTE, "encode to nearest", SB_TRACE_NONE);
  const size_t threads = (size_t)omp_get_max_threads();
  const sb_code_kind kind = coded->blocking.code_kind;
  rows r = {0};
  sb_trellis_coder *coders = NULL;
  sb_status status = sb_alloc(&r.at, most_units(coded), sizeof *r.at, "block rows");
  if (sb_is_trellis(kind))
    SB_THEN(sb_trellis_coders_create(threads, kind, coded->bits, coded->blocks, &coders));
  SB_GO(sb_world_agree(source->world, status));
  sb_group_walk walk = sb_group_walk_begin(source->store, 0, source->groups, false);
  while (sb_group_walk_more(&walk)) {
    size_t group;
    const void *image;
    SB_GO(sb_group_walk_enter(&walk, &group, &image));
    SB_GO(encode_group(source, coded, group, image, &r, coders));
    SB_GO(sb_group_walk_leave(&walk));
  }
done:
  sb_trellis_coders_free(threads, &coders);
  sb_free(&r.at);
  return status;
}

sb_status sb_encode_nearest(sb_model *source, sb_model **out) {
  *out = NULL;
  sb_status status = sb_encode_create(source, out);
  SB_THEN(encode_all(source, *out));
  if (status == SB_OK) sb_model_check(*out);
  if (status != SB_OK && *out) sb_model_free(out);
  return status;
}
