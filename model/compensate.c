#include "model/compensate.h"

#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/blockrow.h"
#include "model/pass_impl.h"
#include "mpi/large.h"
#include "quant/gptq.h"

/* Matrices that share an input. */
enum { INPUTS = 4 };
static const sb_linear first_of[INPUTS] = {SB_LINEAR_Q, SB_LINEAR_O, SB_LINEAR_GATE, SB_LINEAR_DOWN};

static size_t input_of(sb_linear which) {
  size_t input = INPUTS - 1;
  while (input > 0 && which < first_of[input]) input--;
  return input;
}

typedef struct work {
  sb_model *source, *packed;
  sb_backend *backend;
  sb_pass *pass;         /* of the source, one wave: its inputs[0] holds what the layer at hand gets */
  sb_prepared *prepared; /* of the packed model */
  double damping;
  float *moments[INPUTS]; /* device, [n, n] of each kind of input: this rank's sum of x x' */
  float *factors[INPUTS]; /* [n, n] */
  double *sum;            /* [widest, widest] */
  float *rows;            /* block row to be rounded */
  sb_group *groups;
  uint8_t *codes;
  sb_compensate_stats *stats;
} work;

static size_t width_of(const work *w, size_t input) {
  return sb_model_matrix(w->source, 0, first_of[input])->grid.cols;
}

/* ---- the packed model ---- */

static size_t packed_bytes(const void *context, const sb_model *m, const sb_place *place, size_t unit) {
  const sb_model *source = context;
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  sb_linear which = sb_linear_of_role(t->role);
  if (which == SB_LINEARS) {
    size_t first, rows;
    sb_place_rows(m, place, unit, &first, &rows);
    return rows * sb_model_row_bytes(m, place->tensor);
  }
  const sb_matrix *matrix = sb_model_matrix(m, t->layer, which);
  const uint8_t *bits = source->bits + matrix->first_block + unit * sb_grid_block_cols(&matrix->grid);
  return sb_blockrow_bytes(&matrix->grid, unit, bits, m->blocking.symmetry);
}

static sb_status create_packed(const sb_model *source, sb_model **out) {
  const sb_world *world = source->world;
  sb_status status = sb_alloc(out, 1, sizeof **out, "packed model");
  SB_AGREE(world, status);
  sb_model *m = *out;
  m->world = world;
  m->config = source->config;
  m->blocking = source->blocking;
  m->coding = SB_CODING_PACKED;
  status = sb_arch_create(&m->config, &m->arch);
  if (status == SB_OK) status = sb_alloc(&m->dtypes, m->arch.count, sizeof *m->dtypes, "element types");
  if (status == SB_OK) memcpy(m->dtypes, source->dtypes, m->arch.count * sizeof *m->dtypes);
  SB_AGREE(world, status);
  SB_TRY(sb_model_lay_out(m, packed_bytes, source));
  memcpy(m->bits, source->bits, m->blocks);
  return SB_OK;
}

/* ---- one layer ---- */

static sb_status add_moments(void *context, sb_stream stream, sb_linear first, const void *x) {
  work *w = context;
  sb_backend *b = w->backend;
  const size_t input = input_of(first), n = width_of(w, input);
  const double start = sb_now();
  SB_TRY(b->op->gemm(b, stream, true, false, n, n, w->pass->T, 1.0f, x, b->act, n, x, b->act, n, 1.0f,
                     w->moments[input], SB_F32, n));
  w->stats->moment_seconds += sb_now() - start;
  return SB_OK;
}

/* All local sequences through a prepared layer, from inputs[0] to `out`. */
static sb_status forward(work *w, const sb_prepared *prepared, void *out, sb_input_hook hook) {
  sb_pass *p = w->pass;
  const size_t h = p->model->config.hidden;
  const double start = sb_now();
  for (size_t s = 0; s < p->local; s++)
    SB_TRY(sb_layer_forward_observed(w->backend, p->stream, &p->model->config, sb_prepared_weights(prepared),
                                     p->cos_sin, p->work, sb_pass_at(p, out, s, h),
                                     sb_pass_at(p, p->inputs[0], s, h), p->T, hook, w));
  SB_TRY(w->backend->op->sync(w->backend, p->stream));
  w->stats->forward_seconds += sb_now() - start;
  return SB_OK;
}

static sb_status collect(work *w, size_t layer, const void *image) {
  sb_backend *b = w->backend;
  for (size_t i = 0; i < INPUTS; i++)
    SB_TRY(b->op->zero(b, w->pass->stream, w->moments[i], width_of(w, i) * width_of(w, i) * sizeof(float)));
  SB_TRY(sb_prepare_layer(w->pass->prepared, w->pass->stream, layer, image));
  return forward(w, w->pass->prepared, w->pass->normed, add_moments);
}

/* Sums over ranks, then every rank makes the same factors. Collective. */
static sb_status factorise(work *w, size_t layer) {
  const sb_world *world = w->source->world;
  for (size_t i = 0; i < INPUTS; i++) {
    const size_t n = width_of(w, i);
    sb_gptq_repair repair;
    double start = sb_now();
    /* into the factor's place, which is free until it is made */
    SB_AGREE(world, w->backend->op->download(w->backend, w->pass->stream, w->factors[i], w->moments[i],
                                             n * n * sizeof(float)));
    SB_AGREE(world, w->backend->op->sync(w->backend, w->pass->stream));
    for (size_t k = 0; k < n * n; k++) w->sum[k] = (double)w->factors[i][k];
    SB_TRY(sb_mpi_sum_f64(w->sum, n * n, world->comm));
    sb_status status = sb_gptq_factor(w->factors[i], w->sum, n, w->damping, &repair);
    if (status != SB_OK)
      status = sb_fail(
          status, "layer %zu, %s: %s; check the model and the calibration tokens", layer,
          sb_role_name(w->source->arch.tensors[sb_model_matrix(w->source, layer, first_of[i])->tensor].role),
          sb_message());
    SB_AGREE(world, status);
    w->stats->repaired += repair.damping > w->damping;
    w->stats->dead += repair.dead;
    w->stats->factor_seconds += sb_now() - start;
  }
  return SB_OK;
}

/* Fills one unit of the packed group that this rank owns, from the source's image. Local. */
static sb_status fill_unit(work *w, const sb_place *place, size_t unit, const void *image) {
  const sb_model *m = w->packed;
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  const sb_linear which = sb_linear_of_role(t->role);
  const size_t index = place->first_unit + unit;
  uint8_t *to = sb_store_unit(m->store, place->group, index);
  const char *from = (const char *)image + sb_store_offset(w->source->store, place->group, index);
  size_t first, rows;
  sb_place_rows(m, place, unit, &first, &rows);
  if (which == SB_LINEARS) {
    memcpy(to, from, rows * sb_model_row_bytes(m, place->tensor));
    return SB_OK;
  }
  const sb_matrix *matrix = sb_model_matrix(m, t->layer, which);
  const uint8_t *bits = m->bits + matrix->first_block + unit * sb_grid_block_cols(&matrix->grid);
  sb_to_f32(w->rows, from, m->dtypes[place->tensor], rows * t->cols);
  SB_TRY(sb_gptq_blockrow(w->groups, w->codes, w->rows, w->factors[input_of(which)], &matrix->grid, unit,
                          bits, m->blocking.symmetry));
  sb_blockrow_pack(to, w->groups, w->codes, &matrix->grid, unit, bits, m->blocking.symmetry);
  return SB_OK;
}

static sb_status fill_group(work *w, size_t group, const void *image) {
  const sb_model *m = w->packed;
  const double start = sb_now();
  size_t own, end;
  sb_store_owned(m->store, group, m->world->rank, &own, &end);
  for (size_t p = m->group_place[group]; p < m->group_place[group + 1]; p++) {
    const sb_place *place = &m->places[p];
    const size_t to = sb_min_size(end, place->first_unit + place->units);
    for (size_t u = sb_max_size(own, place->first_unit); u < to; u++)
      SB_TRY(fill_unit(w, place, u - place->first_unit, image));
  }
  w->stats->round_seconds += sb_now() - start;
  return SB_OK;
}

/* Embedding, head, norm: as they are. Collective. */
static sb_status copy_group(work *w, size_t group) {
  const void *image;
  SB_TRY(sb_store_acquire(w->source->store, group, &image));
  SB_AGREE(w->source->world, fill_group(w, group, image));
  return sb_store_release(w->source->store, group);
}

static sb_status do_layer(work *w, size_t layer) {
  const sb_world *world = w->source->world;
  const size_t group = w->source->layer_first + layer;
  const void *image;
  SB_TRY(sb_store_acquire(w->source->store, group, &image));
  SB_AGREE(world, collect(w, layer, image));
  SB_TRY(factorise(w, layer));
  SB_AGREE(world, fill_group(w, group, image));
  SB_TRY(sb_store_release(w->source->store, group));
  SB_TRY(sb_store_acquire(w->packed->store, group, &image));
  sb_status status = sb_prepare_layer(w->prepared, w->pass->stream, layer, image);
  if (status == SB_OK) status = forward(w, w->prepared, w->pass->inputs[0], NULL);
  SB_AGREE(world, status);
  return sb_store_release(w->packed->store, group);
}

/* ---- all ---- */

static sb_status allocate(work *w) {
  size_t widest = 0, rows = w->source->blocking.rows;
  for (size_t i = 0; i < INPUTS; i++) {
    const size_t n = width_of(w, i);
    widest = sb_max_size(widest, n);
    SB_TRY(
        w->backend->op->alloc(w->backend, n * n * sizeof(float), "second moments", (void **)&w->moments[i]));
    SB_TRY(sb_alloc_raw(&w->factors[i], n * n, sizeof(float), "factors of second moments"));
  }
  SB_TRY(sb_alloc_raw(&w->sum, widest * widest, sizeof(double), "second moments"));
  SB_TRY(sb_alloc_raw(&w->rows, rows * widest, sizeof(float), "block row"));
  SB_TRY(sb_alloc_raw(&w->codes, rows * widest, 1, "block row"));
  SB_TRY(sb_alloc_raw(&w->groups, rows * sb_div_up(widest, w->source->blocking.cols), sizeof *w->groups,
                      "block row"));
  return sb_prepared_create(w->packed, w->backend, &w->prepared);
}

static void release(work *w) {
  for (size_t i = 0; i < INPUTS; i++) {
    w->backend->op->free(w->backend, w->moments[i]);
    sb_free(&w->factors[i]);
  }
  sb_free(&w->sum);
  sb_free(&w->rows);
  sb_free(&w->codes);
  sb_free(&w->groups);
  sb_prepared_free(&w->prepared);
  sb_pass_free(&w->pass);
}

static sb_status run(work *w, void (*tick)(void *context, double done), void *context) {
  sb_model *m = w->source;
  SB_AGREE(m->world, allocate(w));
  for (size_t g = 0; g < m->groups; g++)
    if (g < m->layer_first || g >= m->layer_first + m->config.layers) SB_TRY(copy_group(w, g));
  SB_TRY(sb_head_embed(w->pass, 0));
  for (size_t layer = 0; layer < m->config.layers; layer++) {
    SB_TRY(do_layer(w, layer));
    if (tick) tick(context, (double)(layer + 1) / (double)m->config.layers);
  }
  return SB_OK;
}

sb_status sb_compensate(sb_model *source, sb_backend *backend, const sb_sequences *calibration,
                        double damping, void (*tick)(void *context, double done), void *context,
                        sb_model **out, sb_compensate_stats *stats) {
  const sb_world *world = source->world;
  work w = {.source = source, .backend = backend, .damping = damping, .stats = stats};
  uint8_t *bits = NULL;
  *stats = (sb_compensate_stats){0};
  const sb_pass_setup setup = {.model = source,
                               .backend = backend,
                               .tokens = calibration->tokens,
                               .sequences = calibration->count,
                               .seqlen = calibration->seqlen,
                               .activation_bytes = SIZE_MAX}; /* one wave */
  sb_status status = create_packed(source, &w.packed);
  if (status == SB_OK) status = sb_world_agree(world, sb_alloc(&bits, source->blocks, 1, "bit map"));
  if (status == SB_OK) {
    /* the source's layers are wanted in full precision */
    memcpy(bits, source->bits, source->blocks);
    memset(source->bits, 0, source->blocks);
    status = sb_pass_create(&setup, &w.pass);
    if (status == SB_OK) status = run(&w, tick, context);
    memcpy(source->bits, bits, source->blocks);
  }
  release(&w);
  sb_free(&bits);
  if (status == SB_OK)
    *out = w.packed;
  else if (w.packed)
    sb_model_free(&w.packed);
  return status;
}
