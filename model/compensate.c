#include "model/compensate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/blockrow.h"
#include "model/inputs.h"
#include "model/pass_impl.h"
#include "mpi/large.h"
#include "quant/gptq.h"

enum { INPUTS = SB_INPUTS };

typedef struct work {
  sb_model *source, *packed;
  sb_backend *backend;
  sb_pass *pass;         /* of the source, one wave: its inputs[0] holds what the layer at hand gets */
  sb_prepared *prepared; /* of the packed model */
  double damping;
  bool fitted;
  float *moments[INPUTS]; /* device, [n, n] of each kind of input: sum of x x' over one sequence */
  float *factors[INPUTS]; /* [n, n]; before that, the moments on the host */
  int64_t *sums[INPUTS];  /* [n, n] in multiples of quantum: of this rank's sequences, then of all */
  double quantum[INPUTS]; /* a power of 2 */
  float *rows;            /* block row to be rounded */
  sb_group *groups;
  uint8_t *codes;
  sb_compensate_stats *stats;
} work;

static size_t width_of(const work *w, size_t input) {
  return sb_model_matrix(w->source, 0, sb_input_first(input))->grid.cols;
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
  if (status == SB_OK) status = sb_orders_copy(&source->orders, &m->orders);
  SB_AGREE(world, status);
  SB_TRY(sb_model_lay_out(m, packed_bytes, source));
  memcpy(m->bits, source->bits, m->blocks);
  return SB_OK;
}

/* ---- one layer ---- */

static sb_status take_moments(void *context, sb_stream stream, sb_linear first, const void *x) {
  work *w = context;
  sb_backend *b = w->backend;
  const size_t input = sb_input_of(first), n = width_of(w, input);
  const double start = sb_now();
  SB_TRY(b->op->gemm(b, stream, true, false, n, n, w->pass->T, 1.0f, x, b->act, n, x, b->act, n, 0.0f,
                     w->moments[input], SB_F32, n));
  w->stats->moment_seconds += sb_now() - start;
  return SB_OK;
}

static sb_status layer(work *w, const sb_prepared *prepared, size_t s, void *out, sb_input_hook hook) {
  sb_pass *p = w->pass;
  const size_t h = p->model->config.hidden;
  const double start = sb_now();
  SB_TRY(sb_layer_forward_observed(w->backend, p->stream, &p->model->config, sb_prepared_weights(prepared),
                                   p->cos_sin, p->work, sb_pass_at(p, out, s, h),
                                   sb_pass_at(p, p->inputs[0], s, h), p->T, hook, w));
  SB_TRY(w->backend->op->sync(w->backend, p->stream));
  w->stats->forward_seconds += sb_now() - start;
  return SB_OK;
}

/* The moments of the sequence just seen, on the host in the factors' places. */
static sb_status fetch_moments(work *w) {
  for (size_t i = 0; i < INPUTS; i++)
    SB_TRY(w->backend->op->download(w->backend, w->pass->stream, w->factors[i], w->moments[i],
                                    width_of(w, i) * width_of(w, i) * sizeof(float)));
  return w->backend->op->sync(w->backend, w->pass->stream);
}

/* Moments are added as whole multiples of a quantum, exactly, so the sum does not depend on ranks. Sequence 0, which is
 * rank 0's first, sets it: 2^-40 of its largest diagonal element, which leaves room for sums 2^22 times as large. */
static sb_status settle_quanta(work *w) {
  const sb_world *world = w->source->world;
  double largest[INPUTS];
  for (size_t i = 0; i < INPUTS; i++) {
    const size_t n = width_of(w, i);
    largest[i] = 0;
    for (size_t k = 0; k < n && world->rank == 0; k++)
      largest[i] = fmax(largest[i], (double)w->factors[i][k * n + k]);
  }
  SB_TRY(sb_mpi_bcast(largest, sizeof largest, 0, world->comm));
  for (size_t i = 0; i < INPUTS; i++) {
    int exponent = 0;
    if (largest[i] > 0 && isfinite(largest[i])) frexp(largest[i], &exponent);
    w->quantum[i] = ldexp(1.0, exponent - 40);
  }
  return SB_OK;
}

static sb_status add_moments(work *w, size_t layer_index) {
  const double start = sb_now();
  for (size_t i = 0; i < INPUTS; i++) {
    const size_t count = width_of(w, i) * width_of(w, i);
    const double scale = 1.0 / w->quantum[i];
    const float *from = w->factors[i];
    int64_t *to = w->sums[i];
    size_t beyond = 0;
#pragma omp parallel for schedule(static) reduction(+ : beyond)
    for (size_t k = 0; k < count; k++) {
      const double x = (double)from[k] * scale;
      const bool fits = fabs(x) < 0x1p50; /* of 2^12 sequences the sum then fits too; NaN does not */
      beyond += !fits;
      to[k] += fits ? (int64_t)rint(x) : 0;
    }
    if (beyond)
      return sb_fail(
          SB_ERR_NUMERIC,
          "layer %zu: the inputs of %s differ too much between calibration sequences to be added up "
          "(or are not finite); check the model and the tokens",
          layer_index,
          sb_role_name(
              w->source->arch.tensors[sb_model_matrix(w->source, 0, sb_input_first(i))->tensor].role));
  }
  w->stats->moment_seconds += sb_now() - start;
  return SB_OK;
}

/* Every rank's first sequence is under way while the quanta are settled. Collective. */
static sb_status collect(work *w, size_t layer_index, const void *image) {
  const sb_world *world = w->source->world;
  sb_pass *p = w->pass;
  for (size_t i = 0; i < INPUTS; i++)
    memset(w->sums[i], 0, width_of(w, i) * width_of(w, i) * sizeof *w->sums[i]);
  sb_status status = sb_prepare_layer(p->prepared, p->stream, layer_index, image);
  for (size_t s = 0; s < sb_max_size(p->local, 1); s++) {
    if (status == SB_OK && s < p->local) status = layer(w, p->prepared, s, p->normed, take_moments);
    if (status == SB_OK && s < p->local) status = fetch_moments(w);
    if (s == 0) {
      SB_AGREE(world, status);
      SB_TRY(settle_quanta(w));
    }
    if (status == SB_OK && s < p->local) status = add_moments(w, layer_index);
  }
  return sb_world_agree(world, status);
}

static sb_status factorise_one(work *w, size_t i, sb_gptq_repair *repair) {
  const size_t n = width_of(w, i);
  double *h = (double *)w->sums[i]; /* in place: both have 8 bytes */
  for (size_t k = 0; k < n * n; k++) {
    int64_t whole;
    memcpy(&whole, h + k, sizeof whole);
    h[k] = (double)whole * w->quantum[i];
  }
  return sb_gptq_factor(w->factors[i], h, n, w->damping, repair);
}

/* Sums over ranks, then every rank makes the same factors: each on one thread, because the order in which LAPACK adds
 * depends on how many it has. Collective. */
static sb_status factorise(work *w, size_t layer_index) {
  const sb_world *world = w->source->world;
  const double start = sb_now();
  sb_status status[INPUTS];
  sb_gptq_repair repair[INPUTS];
  char message[INPUTS][256];
  for (size_t i = 0; i < INPUTS; i++)
    SB_TRY(sb_mpi_sum_i64(w->sums[i], width_of(w, i) * width_of(w, i), world->comm));
#pragma omp parallel for schedule(dynamic, 1)
  for (size_t k = 0; k < INPUTS; k++) {
    const size_t i = INPUTS - 1 - k; /* the widest first */
    status[i] = factorise_one(w, i, &repair[i]);
    if (status[i] != SB_OK)
      snprintf(message[i], sizeof message[i], "%s", sb_message()); /* messages are a thread's own */
  }
  for (size_t i = 0; i < INPUTS; i++) {
    if (status[i] != SB_OK)
      status[i] =
          sb_fail(status[i], "layer %zu, %s: %s; check the model and the calibration tokens", layer_index,
                  sb_role_name(
                      w->source->arch.tensors[sb_model_matrix(w->source, 0, sb_input_first(i))->tensor].role),
                  message[i]);
    SB_AGREE(world, status[i]);
    w->stats->repaired += repair[i].damping > w->damping;
    w->stats->dead += repair[i].dead;
  }
  w->stats->factor_seconds += sb_now() - start;
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
  SB_TRY(sb_gptq_blockrow(w->groups, w->codes, w->rows, w->factors[sb_input_of(which)], &matrix->grid, unit,
                          bits, m->blocking.symmetry, w->fitted));
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

static sb_status do_layer(work *w, size_t layer_index) {
  const sb_world *world = w->source->world;
  const size_t group = w->source->layer_first + layer_index;
  const void *image;
  SB_TRY(sb_store_acquire(w->source->store, group, &image));
  SB_TRY(collect(w, layer_index, image));
  SB_TRY(factorise(w, layer_index));
  SB_AGREE(world, fill_group(w, group, image));
  SB_TRY(sb_store_release(w->source->store, group));
  SB_TRY(sb_store_acquire(w->packed->store, group, &image));
  sb_status status = sb_prepare_layer(w->prepared, w->pass->stream, layer_index, image);
  for (size_t s = 0; status == SB_OK && s < w->pass->local; s++)
    status = layer(w, w->prepared, s, w->pass->inputs[0], NULL);
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
    SB_TRY(sb_alloc_raw(&w->sums[i], n * n, sizeof(int64_t), "second moments"));
  }
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
    sb_free(&w->sums[i]);
  }
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
                        double damping, bool fitted, void (*tick)(void *context, double done), void *context,
                        sb_model **out, sb_compensate_stats *stats) {
  const sb_world *world = source->world;
  work w = {.source = source, .backend = backend, .damping = damping, .fitted = fitted, .stats = stats};
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
