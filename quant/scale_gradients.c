#include "quant/scale_gradients.h"

#include <string.h>

#include "base/memory.h"
#include "base/trace.h"
#include "mpi/large.h"

#define QUANTUM 0x1p-44

struct sb_scale_gradients {
  const sb_scales *scales;
  sb_model *m;
  sb_backend *backend;
  size_t groups;                   /* of the layer at hand */
  float *products;                 /* device, [most groups of a layer]: of one sequence */
  int64_t *sums;                   /* device, [most groups of a layer] */
  int64_t *host;                   /* host, the same */
  int64_t *part;                   /* over ranks, [most groups that this rank owns of a layer] */
  int64_t *owned;                  /* [groups of this rank], layer after layer */
  float *values;                   /* [groups of this rank] */
  size_t *starts;                  /* [ranks + 1] */
  const sb_device_layer *prepared; /* of the layer at hand */
  double seconds;
};

static size_t own_of(const sb_scale_gradients *s, size_t layer) {
  return sb_scales_before(s->scales, layer + 1) - sb_scales_before(s->scales, layer);
}

static sb_status allocate(sb_scale_gradients *s) {
  const size_t layers = s->m->config.layers, owned = sb_scales_before(s->scales, layers);
  size_t most = 0;
  for (size_t layer = 0; layer < layers; layer++) most = sb_max_size(most, own_of(s, layer));
  const size_t groups = sb_model_most_groups(s->m);
  sb_backend *b = s->backend;
  SB_TRY(sb_alloc(&s->host, groups, sizeof *s->host, "gradients of scales"));
  SB_TRY(sb_alloc(&s->part, most, sizeof *s->part, "gradients of scales"));
  SB_TRY(sb_alloc(&s->owned, owned, sizeof *s->owned, "gradients of scales"));
  SB_TRY(sb_alloc(&s->values, owned, sizeof *s->values, "gradients of scales"));
  SB_TRY(sb_alloc(&s->starts, (size_t)s->m->world->size + 1, sizeof *s->starts,
                  "gradients of scales"));
  SB_TRY(
      b->op->alloc(b, groups * sizeof *s->products, "gradients of scales", (void **)&s->products));
  return b->op->alloc(b, groups * sizeof *s->sums, "gradients of scales", (void **)&s->sums);
}

size_t sb_scale_gradients_bytes(const sb_sizes *z) {
  const sb_scale_gradients s = {0};
  return sizeof s + z->layer.groups * (sizeof *s.host + sizeof *s.products + sizeof *s.sums) +
         z->owned_groups_of_a_layer * sizeof *s.part +
         z->owned_groups * (sizeof *s.owned + sizeof *s.values) + (z->ranks + 1) * sizeof *s.starts;
}

sb_status sb_scale_gradients_create(const sb_scales *scales, sb_model *packed, sb_backend *backend,
                                    sb_scale_gradients **out) {
  sb_status status = sb_world_alloc(packed->world, out, sizeof **out, "gradients of scales");
  SB_TRY(status);
  (*out)->scales = scales;
  (*out)->m = packed;
  (*out)->backend = backend;
  status = sb_world_agree(packed->world, allocate(*out));
  if (status != SB_OK) sb_scale_gradients_free(out);
  return status;
}

void sb_scale_gradients_free(sb_scale_gradients **gradients) {
  sb_scale_gradients *s = *gradients;
  if (!s) return;
  s->backend->op->free(s->backend, s->products);
  s->backend->op->free(s->backend, s->sums);
  sb_free(&s->host);
  sb_free(&s->part);
  sb_free(&s->owned);
  sb_free(&s->values);
  sb_free(&s->starts);
  sb_free(gradients);
}

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  sb_scale_gradients *s = context;
  s->prepared = prepared;
  s->groups = sb_model_first_group(s->m, layer + 1) - sb_model_first_group(s->m, layer);
  return s->backend->op->zero(s->backend, stream, s->sums, s->groups * sizeof *s->sums);
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

static sb_status end_sequence(void *context, sb_stream stream, size_t layer) {
  sb_scale_gradients *s = context;
  sb_backend *b = s->backend;
  SB_SPAN_INTO(&s->seconds, SB_TRACE_COMPUTE, "add scale gradients", layer);
  sb_status status =
      b->op->add_multiples(b, stream, s->sums, s->products, s->groups, QUANTUM, false);
  SB_THEN(b->op->sync(b, stream));
  return status == SB_ERR_NUMERIC
             ? sb_fail(
                   SB_ERR_NUMERIC,
                   "layer %zu: the gradient of a scale overflows; give more bits, or --tune-seqs 0",
                   layer)
             : status;
}

/* Collective. */
static sb_status end_layer(void *context, size_t layer) {
  sb_scale_gradients *s = context;
  sb_backend *b = s->backend;
  int64_t *owned = s->owned + sb_scales_before(s->scales, layer);
  SB_SPAN_INTO(&s->seconds, SB_TRACE_COMPUTE, "sum scale gradients", layer);
  sb_status status = b->op->download(b, NULL, s->host, s->sums, s->groups * sizeof *s->host);
  SB_THEN(b->op->sync(b, NULL));
  SB_AGREE(s->m->world, status);
  sb_scales_owners(s->scales, layer, s->starts);
  SB_TRY(sb_mpi_reduce_scatter_i64(s->part, s->host, s->starts, s->m->world->comm));
  for (size_t i = 0; i < own_of(s, layer); i++) owned[i] += s->part[i];
  return SB_OK;
}

sb_status sb_scale_gradients_measure(sb_scale_gradients *s, sb_pass *pass, const float **out,
                                     double *loss) {
  const sb_pass_hooks hooks = {.context = s,
                               .begin_layer = begin_layer,
                               .matrix = take_matrix,
                               .end_sequence = end_sequence,
                               .end_layer = end_layer};
  const size_t owned = sb_scales_before(s->scales, s->m->config.layers);
  memset(s->owned, 0, owned * sizeof *s->owned);
  SB_TRY(sb_pass_gradients(pass, &hooks, loss));
  const double each = QUANTUM / (double)sb_pass_sequences(pass);
  for (size_t i = 0; i < owned; i++) s->values[i] = (float)((double)s->owned[i] * each);
  *out = s->values;
  return SB_OK;
}

double sb_scale_gradients_seconds(const sb_scale_gradients *s) {
  return s->seconds;
}
