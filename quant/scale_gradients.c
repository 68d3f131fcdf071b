#include "quant/scale_gradients.h"

#include <string.h>

#include "base/memory.h"
#include "base/trace.h"
#include "mpi/large.h"
#include "quant/scale_numbers.h"
#include "quant/table_gradients.h"

struct sb_scale_gradients {
  const sb_scales *scales;
  sb_model *m;
  sb_backend *backend;
  sb_trained what;
  sb_table_gradients *tables;      /* NULL where none is trained */
  size_t groups, vectors;          /* of the layer at hand; vectors: channels of its norms */
  float *products;                 /* device, [most groups of a layer]: of one sequence */
  int64_t *sums;                   /* device, [most groups and vectors of a layer] */
  int64_t *final_sums;             /* device, [hidden] of the final norm, over all waves; or NULL */
  int64_t *host;                   /* host, as `sums`, or [hidden] */
  int64_t *numbers;                /* [most of a layer], or NULL where they are the groups */
  int64_t *part;                   /* over ranks, [most numbers that this rank owns of a part] */
  int64_t *owned;                  /* [numbers of this rank], part after part */
  float *values;                   /* [numbers of this rank] */
  size_t *starts;                  /* [ranks + 1] */
  const sb_device_layer *prepared; /* of the layer at hand */
  double seconds;
};

static size_t own_of(const sb_scale_gradients *s, size_t part) {
  return sb_scales_before(s->scales, part + 1) - sb_scales_before(s->scales, part);
}

/* What is allocated, in elements. */
typedef struct sizes {
  size_t groups, sums, host, final, numbers, part, owned, starts;
} sizes;

static bool has_tables(sb_trained what) {
  return what.tables[0] || what.tables[1];
}

static sizes sizes_of(const sb_sizes *z, sb_trained what) {
  const bool norms = what.norms;
  const size_t vectors = norms ? z->layer.vectors : 0, hidden = z->arch->config.hidden;
  const bool groups = sb_scale_numbers_are_groups(z->blocking.code_kind, what);
  const size_t sums = z->layer.groups + vectors;
  return (sizes){.groups = z->layer.groups,
                 .sums = sums,
                 .host = norms ? sb_max_size(sums, hidden) : sums,
                 .final = norms ? hidden : 0,
                 .numbers = groups ? 0 : sb_scale_numbers_of_a_layer(z, what),
                 .part = sb_scale_numbers_owned_of_a_part(z, what),
                 .owned = sb_scale_numbers_owned(z, what),
                 .starts = z->ranks + 1};
}

static sb_status allocate(sb_scale_gradients *s) {
  const sb_sizes of_model = sb_model_sizes(s->m);
  const sizes z = sizes_of(&of_model, s->what);
  sb_backend *b = s->backend;
#define HOST(field, count)                                                                         \
  SB_TRY(sb_alloc(&s->field, count, sizeof *s->field, "gradients of scales"))
#define DEVICE(field, count)                                                                       \
  SB_TRY(b->op->alloc(b, (count) * sizeof *s->field, "gradients of scales", (void **)&s->field))
  HOST(host, z.host);
  if (z.numbers > 0) HOST(numbers, z.numbers);
  HOST(part, z.part);
  HOST(owned, z.owned);
  HOST(values, z.owned);
  HOST(starts, z.starts);
  DEVICE(products, z.groups);
  DEVICE(sums, z.sums);
  if (z.final > 0) DEVICE(final_sums, z.final);
  if (has_tables(s->what)) SB_TRY(sb_table_gradients_create(s->m, s->what, b, &s->tables));
#undef HOST
#undef DEVICE
  return SB_OK;
}

size_t sb_scale_gradients_bytes(const sb_sizes *of_model, sb_trained what) {
  const sb_scale_gradients s = {0};
  const sizes z = sizes_of(of_model, what);
  return sizeof s + z.groups * sizeof *s.products +
         (z.sums + z.final + z.host + z.numbers + z.part + z.owned) * sizeof *s.sums +
         z.owned * sizeof *s.values + z.starts * sizeof *s.starts +
         (has_tables(what) ? sb_table_gradients_bytes(of_model, what) : 0);
}

sb_status sb_scale_gradients_create(const sb_scales *scales, sb_model *coded, sb_backend *backend,
                                    sb_scale_gradients **out) {
  sb_status status = sb_world_alloc(coded->world, out, sizeof **out, "gradients of scales");
  SB_TRY(status);
  (*out)->scales = scales;
  (*out)->m = coded;
  (*out)->backend = backend;
  (*out)->what = sb_scales_trained(scales);
  status = sb_world_agree(coded->world, allocate(*out));
  if (status != SB_OK) sb_scale_gradients_free(out);
  return status;
}

void sb_scale_gradients_free(sb_scale_gradients **gradients) {
  sb_scale_gradients *s = *gradients;
  if (!s) return;
  s->backend->op->free(s->backend, s->products);
  s->backend->op->free(s->backend, s->sums);
  s->backend->op->free(s->backend, s->final_sums);
  sb_table_gradients_free(&s->tables);
  sb_free(&s->host);
  sb_free(&s->numbers);
  sb_free(&s->part);
  sb_free(&s->owned);
  sb_free(&s->values);
  sb_free(&s->starts);
  sb_free(gradients);
}

/* ---- of one sequence ---- */

/* Of a layer, or of the final norm: SB_NONE. */
static sb_status overflows(size_t layer) {
  const char *way_out = "give more bits, or --tune-seqs 0";
  if (layer == SB_NONE)
    return sb_fail(SB_ERR_NUMERIC, "the gradient of the final norm overflows; %s", way_out);
  return sb_fail(SB_ERR_NUMERIC, "layer %zu: the gradient of a scale overflows; %s", layer,
                 way_out);
}

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  sb_scale_gradients *s = context;
  s->prepared = prepared;
  s->groups = sb_model_first_group(s->m, layer + 1) - sb_model_first_group(s->m, layer);
  s->vectors = s->what.norms ? sb_scale_vectors(s->m, layer) : 0;
  return s->backend->op->zero(s->backend, stream, s->sums,
                              (s->groups + s->vectors) * sizeof *s->sums);
}

static sb_status take_matrix(void *context, sb_stream stream, size_t layer, size_t which,
                             const float *g) {
  sb_scale_gradients *s = context;
  const sb_matrix *matrix = sb_model_matrix(s->m, layer, which);
  const sb_tiling *tiling = &matrix->tiling;
  float *products = s->products + (matrix->first_group - sb_model_first_group(s->m, layer));
  SB_SPAN_INTO(&s->seconds, SB_TRACE_COMPUTE, "scale gradients", which);
  const void *w;
  SB_TRY(sb_device_layer_stored(s->prepared, stream, which, &w));
  SB_TRY(s->backend->op->group_products(
      s->backend, stream, products, g, tiling->cols,
      &(sb_block_weights){.w = w, .dtype = s->backend->operand, .tiling = tiling}));
  return SB_OK;
}

/* *sums += x. What overflows is told of layer `layer`, or of the final norm for SB_NONE. */
static sb_status add(sb_scale_gradients *s, sb_stream stream, int64_t *sums, const float *x,
                     size_t count, size_t layer) {
  sb_backend *b = s->backend;
  const sb_status status = b->op->add_multiples(b, stream, sums, x, count, SB_SCALE_QUANTUM, false);
  return status == SB_ERR_NUMERIC ? overflows(layer) : status;
}

static sb_status take_norm(void *context, sb_stream stream, size_t tensor, size_t first_row,
                           size_t rows, const float *g) {
  sb_scale_gradients *s = context;
  const size_t layer = s->m->arch.tensors[tensor].layer, channels = s->m->arch.tensors[tensor].cols;
  (void)first_row, (void)rows; /* one */
  SB_SPAN_INTO(&s->seconds, SB_TRACE_COMPUTE, "add norm gradients", layer);
  int64_t *sums =
      layer == SB_NONE ? s->final_sums : s->sums + s->groups + sb_scale_first_vector(s->m, tensor);
  return add(s, stream, sums, g, channels, layer);
}

static sb_status end_sequence(void *context, sb_stream stream, size_t layer) {
  sb_scale_gradients *s = context;
  SB_SPAN_INTO(&s->seconds, SB_TRACE_COMPUTE, "add scale gradients", layer);
  SB_TRY(add(s, stream, s->sums, s->products, s->groups, layer));
  const sb_status status = s->backend->op->sync(s->backend, stream);
  return status == SB_ERR_NUMERIC ? overflows(layer) : status;
}

/* ---- of all sequences ---- */

/* Adds this rank's part of the sums over ranks to its numbers. Collective. */
static sb_status reduce(sb_scale_gradients *s, size_t part, const int64_t *numbers) {
  int64_t *owned = s->owned + sb_scales_before(s->scales, part);
  sb_scales_owners(s->scales, part, s->starts);
  SB_TRY(sb_mpi_reduce_scatter_i64(s->part, numbers, s->starts, s->m->world->comm));
  for (size_t i = 0; i < own_of(s, part); i++) owned[i] += s->part[i];
  return SB_OK;
}

static sb_status download(sb_scale_gradients *s, const int64_t *sums, size_t count) {
  sb_backend *b = s->backend;
  SB_TRY(b->op->download(b, NULL, s->host, sums, count * sizeof *s->host));
  return b->op->sync(b, NULL);
}

/* This rank's sums over groups become those of the layer's numbers. */
static sb_status gather(sb_scale_gradients *s, size_t layer) {
  if (!s->numbers) return SB_OK;
  const sb_status status =
      sb_scale_numbers_gather(s->m, s->what, layer, s->host, s->host + s->groups, s->numbers);
  return status == SB_ERR_NUMERIC ? overflows(layer) : status;
}

/* Collective. */
static sb_status end_layer(void *context, size_t layer) {
  sb_scale_gradients *s = context;
  SB_SPAN_INTO(&s->seconds, SB_TRACE_COMPUTE, "sum scale gradients", layer);
  sb_status status = download(s, s->sums, s->groups + s->vectors);
  SB_THEN(gather(s, layer));
  SB_AGREE(s->m->world, status);
  return reduce(s, sb_scale_group_part(s->m, s->what, s->m->layer_first + layer),
                s->numbers ? s->numbers : s->host);
}

/* Collective. */
static sb_status end_final_norm(sb_scale_gradients *s) {
  const size_t part = sb_scale_group_part(s->m, s->what, s->m->norm_group);
  SB_AGREE(s->m->world, download(s, s->final_sums, s->m->config.hidden));
  return reduce(s, part, s->host);
}

/* Chunk by chunk. Collective. */
static sb_status end_table(sb_scale_gradients *s, size_t i) {
  const sb_table *table = &s->m->tables[i];
  const size_t blocks = sb_tiling_block_cols(&table->matrix.tiling);
  const int64_t *sums;
  SB_AGREE(s->m->world, sb_table_gradients_end(s->tables, i, &sums));
  for (size_t k = 0; k < table->count; k++) {
    const size_t group = table->group + k, part = sb_scale_group_part(s->m, s->what, group);
    const sb_place *place = &s->m->places[s->m->group_place[group]];
    sb_scales_owners(s->scales, part, s->starts);
    SB_TRY(sb_mpi_reduce_scatter_i64(s->owned + sb_scales_before(s->scales, part),
                                     sums + place->first_row * blocks, s->starts,
                                     s->m->world->comm));
  }
  return SB_OK;
}

static sb_status begin_pass(sb_scale_gradients *s) {
  sb_backend *b = s->backend;
  memset(s->owned, 0, sb_scales_before(s->scales, sb_scales_parts(s->scales)) * sizeof *s->owned);
  if (s->tables) SB_TRY(sb_table_gradients_begin(s->tables));
  if (!s->what.norms) return SB_OK;
  SB_TRY(b->op->zero(b, NULL, s->final_sums, s->m->config.hidden * sizeof *s->final_sums));
  return b->op->sync(b, NULL);
}

sb_status sb_scale_gradients_measure(sb_scale_gradients *s, sb_pass *pass, const float **out,
                                     double *loss) {
  const sb_pass_hooks hooks = {.context = s,
                               .begin_layer = begin_layer,
                               .matrix = take_matrix,
                               .end_sequence = end_sequence,
                               .end_layer = end_layer,
                               .parameter = s->what.norms ? take_norm : NULL};
  const size_t owned = sb_scales_before(s->scales, sb_scales_parts(s->scales));
  SB_AGREE(s->m->world, begin_pass(s));
  sb_pass_tell_tables(pass, s->tables ? sb_table_gradients_hooks(s->tables) : NULL);
  const sb_status status = sb_pass_gradients(pass, &hooks, loss);
  sb_pass_tell_tables(pass, NULL);
  SB_TRY(status);
  if (s->what.norms) SB_TRY(end_final_norm(s));
  for (size_t i = 0; i < SB_TABLES; i++)
    if (s->what.tables[i]) SB_TRY(end_table(s, i));
  const double each = SB_SCALE_QUANTUM / (double)sb_pass_sequences(pass);
  for (size_t i = 0; i < owned; i++) s->values[i] = (float)((double)s->owned[i] * each);
  *out = s->values;
  return SB_OK;
}

double sb_scale_gradients_seconds(const sb_scale_gradients *s) {
  return s->seconds + (s->tables ? sb_table_gradients_seconds(s->tables) : 0);
}
