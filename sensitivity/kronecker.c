#include "sensitivity/kronecker.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/trace.h"
#include "mpi/exact.h"

/* Exact sums keep multiples of 2^-80 up to 2^30. Squares of inputs, of which single ones are 10^6
 * in some models, are added up as 2^-16 of themselves; those of output gradients, which are far
 * below 1 even where a model collapses, as 2^8. */
enum { INPUT_EXPONENT = -16, OUTPUT_EXPONENT = 8 };

struct sb_kronecker {
  sb_model *model;
  sb_backend *backend;
  unsigned min_bits, max_bits;

  /* sums of the layer at hand: triangles of every input, then squares of every output */
  size_t *gram_at;   /* [most inputs + 1] */
  size_t *square_at; /* [most matrices + 1] */
  size_t count, most;
  int64_t *device; /* [most, 2] */
  sb_exact *sums;  /* on the host: the same memory where that is one */

  /* several waves: what earlier ones gave, this rank's part of every layer */
  size_t waves, wave;
  size_t share;      /* the most of a layer's sums that a rank's part has */
  size_t *starts;    /* [ranks + 1] parts of the sums of the layer at hand */
  sb_exact *earlier; /* [layers, share] */
  sb_exact *part;    /* [share] */

  const sb_device_layer *prepared;
  sb_stream stream;
  float *grams, *row_weights; /* host, of one matrix */
  float *grams_dev, *row_weights_dev;
  sb_losses *losses_dev, *layer_losses; /* owned blocks of a layer: device, host */
  sb_losses *losses;                    /* of the caller: the owned blocks */
  size_t *layer_start;                  /* [layers + 1] into them */
  size_t tokens, sequences;
  double seconds;
};

/* Where the layer's sums are. */
static void lay_out(sb_kronecker *k, size_t layer) {
  const sb_arch *arch = &k->model->arch;
  const size_t inputs = sb_arch_inputs(arch, layer), matrices = sb_arch_matrices(arch, layer),
               ranks = (size_t)k->model->world->size;
  for (size_t i = 0; i < inputs; i++)
    k->gram_at[i + 1] = k->gram_at[i] + sb_grams_count(sb_arch_input_of(arch, layer, i)->width,
                                                       k->model->blocking.cols);
  k->square_at[0] = k->gram_at[inputs];
  for (size_t i = 0; i < matrices; i++)
    k->square_at[i + 1] = k->square_at[i] + sb_arch_matrix(arch, layer, i)->rows;
  k->count = k->square_at[matrices];
  for (size_t r = 0; r <= ranks; r++)
    k->starts[r] = k->count / ranks * r + sb_min_size(r, k->count % ranks);
}

/* The most sums that a layer has; false on overflow. */
static bool find_most(sb_kronecker *k) {
  const size_t c = k->model->blocking.cols;
  size_t squared;
  if (!sb_mul_size(c, c, &squared)) return false;
  for (size_t layer = 0; layer < k->model->config.layers; layer++) {
    lay_out(k, layer);
    k->most = sb_max_size(k->most, k->count);
  }
  k->share = sb_div_up(k->most, (size_t)k->model->world->size);
  return k->most < SIZE_MAX / sizeof(sb_exact);
}

static size_t most_owned(const sb_kronecker *k) {
  size_t most = 0;
  for (size_t layer = 0; layer < k->model->config.layers; layer++)
    most = sb_max_size(most, k->layer_start[layer + 1] - k->layer_start[layer]);
  return most;
}

/* Floats of the widest input's H_j, and of the longest matrix' G. */
static void most_floats(const sb_kronecker *k, size_t *grams, size_t *rows) {
  *grams = *rows = 0;
  for (size_t i = 0; i < k->model->arch.matrix_count; i++) {
    const sb_tiling *tiling = &k->model->matrices[i].tiling;
    *grams =
        sb_max_size(*grams, sb_tiling_block_cols(tiling) * tiling->block_cols * tiling->block_cols);
    *rows = sb_max_size(*rows, tiling->rows);
  }
}

static sb_status allocate_device(sb_kronecker *k, size_t grams, size_t rows, size_t owned) {
  sb_backend *b = k->backend;
  SB_TRY(
      b->op->alloc(b, k->most * sizeof *k->sums, "second moments of a layer", (void **)&k->device));
  if (b->unified) {
    k->sums = (sb_exact *)k->device;
    k->grams_dev = k->grams;
    k->row_weights_dev = k->row_weights;
    k->losses_dev = k->layer_losses;
    return SB_OK;
  }
  SB_TRY(b->op->host_alloc(b, k->most * sizeof *k->sums, "second moments of a layer",
                           (void **)&k->sums));
  SB_TRY(
      b->op->alloc(b, grams * sizeof(float), "second moments of inputs", (void **)&k->grams_dev));
  SB_TRY(b->op->alloc(b, rows * sizeof(float), "second moments of outputs",
                      (void **)&k->row_weights_dev));
  return b->op->alloc(b, owned * sizeof *k->losses_dev, "table of losses", (void **)&k->losses_dev);
}

size_t sb_kronecker_bytes(const sb_sizes *z, bool several_waves) {
  const size_t sums = z->layer.grams + z->layer.rows, own = sb_div_up(sums, z->ranks),
               cols = z->blocking.cols,
               widest_grams = sb_div_up(z->layer.widest, cols) * cols * cols;
  return sizeof(sb_kronecker) + sums * sizeof(sb_exact) +
         (several_waves ? (z->layers + 1) * own * sizeof(sb_exact) : 0) +
         (widest_grams + z->layer.tallest) * sizeof(float) +
         z->owned_of_a_layer * sizeof(sb_losses) +
         (z->layers + 1 + z->ranks + 1 + z->arch->most_inputs + 1 + z->arch->most_matrices + 1) *
             sizeof(size_t);
}

sb_status sb_kronecker_create(sb_model *m, sb_backend *b, unsigned min_bits, unsigned max_bits,
                              sb_kronecker **out) {
  sb_status status = sb_alloc(out, 1, sizeof **out, "second moments");
  if (status != SB_OK) return status;
  sb_kronecker *k = *out;
  const size_t ranks = (size_t)m->world->size;
  size_t grams, rows;
  k->model = m;
  k->backend = b;
  k->min_bits = min_bits;
  k->max_bits = max_bits;
  SB_GO(sb_alloc(&k->gram_at, m->arch.most_inputs + 1, sizeof *k->gram_at, "second moments"));
  SB_GO(sb_alloc(&k->square_at, m->arch.most_matrices + 1, sizeof *k->square_at, "second moments"));
  SB_GO(sb_alloc(&k->starts, ranks + 1, sizeof *k->starts, "second moments"));
  if (!find_most(k)) {
    status = sb_fail(SB_ERR_MEMORY, "second moments of a layer in blocks of %zu columns overflow",
                     m->blocking.cols);
    goto done;
  }
  most_floats(k, &grams, &rows);
  SB_GO(sb_alloc(&k->layer_start, m->config.layers + 1, sizeof *k->layer_start, "second moments"));
  for (size_t layer = 0; layer < m->config.layers; layer++) {
    size_t first, end;
    sb_model_owned_blocks(m, layer, m->world->rank, &first, &end);
    k->layer_start[layer + 1] = k->layer_start[layer] + (end - first);
  }
  SB_GO(sb_alloc(&k->grams, grams, sizeof(float), "second moments of inputs"));
  SB_GO(sb_alloc(&k->row_weights, rows, sizeof(float), "second moments of outputs"));
  SB_GO(sb_alloc(&k->layer_losses, most_owned(k), sizeof *k->layer_losses, "table of losses"));
  SB_GO(allocate_device(k, grams, rows, most_owned(k)));
done:
  if (status != SB_OK) sb_kronecker_free(out);
  return status;
}

void sb_kronecker_free(sb_kronecker **kronecker) {
  sb_kronecker *k = *kronecker;
  if (!k) return;
  sb_backend *b = k->backend;
  if (!b->unified) {
    b->op->host_free(b, k->sums);
    b->op->free(b, k->grams_dev);
    b->op->free(b, k->row_weights_dev);
    b->op->free(b, k->losses_dev);
  }
  b->op->free(b, k->device);
  sb_free(&k->gram_at);
  sb_free(&k->square_at);
  sb_free(&k->starts);
  sb_free(&k->earlier);
  sb_free(&k->part);
  sb_free(&k->grams);
  sb_free(&k->row_weights);
  sb_free(&k->layer_losses);
  sb_free(&k->layer_start);
  sb_free(kronecker);
}

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  sb_kronecker *k = context;
  SB_SPAN_INTO(&k->seconds, SB_TRACE_COMPUTE, "clear second moments", layer);
  lay_out(k, layer);
  k->prepared = prepared;
  k->stream = stream;
  SB_TRY(k->backend->op->zero(k->backend, stream, k->device, k->count * sizeof *k->sums));
  return SB_OK;
}

static sb_status add_factors(void *context, sb_stream stream, size_t layer, size_t which,
                             const void *x, const void *dy) {
  sb_kronecker *k = context;
  sb_backend *b = k->backend;
  const sb_arch *arch = &k->model->arch;
  const sb_tiling *tiling = &sb_model_matrix(k->model, layer, which)->tiling;
  SB_SPAN_INTO(&k->seconds, SB_TRACE_COMPUTE, "second moments", which);
  const size_t input = sb_arch_matrix(arch, layer, which)->input;
  sb_status status = SB_OK;
  if (which == sb_arch_input_of(arch, layer, input)->first_matrix)
    status = b->op->add_grams(b, stream, k->device + 2 * k->gram_at[input], x, k->tokens,
                              tiling->cols, tiling->block_cols, INPUT_EXPONENT);
  SB_THEN(b->op->add_squares(b, stream, k->device + 2 * k->square_at[which], dy, k->tokens,
                             tiling->rows, OUTPUT_EXPONENT));
  if (status == SB_ERR_NUMERIC)
    return sb_fail(
        status,
        "layer %zu: activations or their gradients overflow at the present bits; start from "
        "more bits (--start-bits)",
        layer);
  return status;
}

static sb_status end_sequence(void *context, sb_stream stream, size_t layer) {
  (void)context, (void)stream, (void)layer;
  return SB_OK;
}

/* Full H_j of one input, as floats, over S. */
static void expand_grams(sb_kronecker *k, size_t layer, size_t input) {
  const sb_model *m = k->model;
  const size_t first = sb_arch_input_of(&m->arch, layer, input)->first_matrix;
  const sb_tiling *tiling = &sb_model_matrix(m, layer, first)->tiling;
  const sb_exact *sums = k->sums + k->gram_at[input];
  const double scale = ldexp(1.0, -INPUT_EXPONENT) / (double)k->sequences;
#pragma omp parallel for schedule(dynamic, 1)
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const sb_exact *from = sums + sb_grams_start(tiling->block_cols, j);
    const size_t n = sb_tiling_cols_of(tiling, j);
    float *to = k->grams + j * tiling->block_cols * tiling->block_cols;
    for (size_t r = 0; r < n; r++)
      for (size_t c = 0; c <= r; c++)
        to[r * n + c] = to[c * n + r] = (float)(sb_exact_value(from++) * scale);
  }
}

/* Losses of this rank's blocks of one layer. Local. */
static sb_status score_layer(sb_kronecker *k, size_t layer) {
  sb_backend *b = k->backend;
  const sb_model *m = k->model;
  const double row_scale = ldexp(1.0, -OUTPUT_EXPONENT) / (double)k->sequences;
  size_t expanded = SB_NONE, own, own_end, n = 0;
  sb_model_owned_blocks(m, layer, m->world->rank, &own, &own_end);
  for (size_t which = 0; which < sb_arch_matrices(&m->arch, layer); which++) {
    const size_t input = sb_arch_matrix(&m->arch, layer, which)->input;
    const sb_matrix *matrix = sb_model_matrix(m, layer, which);
    const sb_tiling *tiling = &matrix->tiling;
    const size_t columns = sb_tiling_block_cols(tiling), base = matrix->first_block;
    const size_t from = sb_max_size(own, base),
                 to = sb_min_size(own_end, base + columns * sb_tiling_block_rows(tiling));
    if (from >= to) continue;
    if (expanded != input) {
      expanded = input;
      expand_grams(k, layer, input);
      SB_TRY(b->op->upload(b, k->stream, k->grams_dev, k->grams,
                           columns * tiling->block_cols * tiling->block_cols * sizeof(float)));
    }
    for (size_t r = 0; r < tiling->rows; r++)
      k->row_weights[r] = (float)(sb_exact_value(&k->sums[k->square_at[which] + r]) * row_scale);
    SB_TRY(b->op->upload(b, k->stream, k->row_weights_dev, k->row_weights,
                         tiling->rows * sizeof(float)));
    SB_TRY(b->op->block_curvature(
        b, k->stream, k->losses_dev + n,
        &(sb_block_weights){.w = sb_device_layer_source(k->prepared, which),
                            .dtype = m->dtypes[matrix->tensor],
                            .tiling = tiling,
                            .code_kind = m->blocking.code_kind},
        (from - base) / columns, (to - from) / columns, k->grams_dev, k->row_weights_dev,
        k->min_bits, k->max_bits, sb_device_layer_importance(k->prepared, which)));
    /* before the host's copies of the moments are written again */
    SB_TRY(b->op->sync(b, k->stream));
    n += to - from;
  }
  SB_TRY(b->op->download(b, k->stream, k->layer_losses, k->losses_dev, n * sizeof *k->losses_dev));
  SB_TRY(b->op->sync(b, k->stream));
  for (size_t i = 0; i < n; i++)
    for (unsigned bits = k->min_bits; bits <= k->max_bits; bits++)
      k->losses[k->layer_start[layer] + i][bits] = 0.5 * k->layer_losses[i][bits];
  return SB_OK;
}

static void add_to(sb_exact *to, const sb_exact *from, size_t count) {
  for (size_t i = 0; i < count; i++) {
    to[i].high += from[i].high;
    to[i].low += from[i].low;
    sb_exact_normalise(&to[i]);
  }
}

static sb_status fetch(sb_kronecker *k) {
  sb_backend *b = k->backend;
  SB_TRY(b->op->download(b, k->stream, k->sums, k->device, k->count * sizeof *k->sums));
  return b->op->sync(b, k->stream);
}

/* The last wave sees the sums of all. Collective. */
static sb_status end_layer(void *context, size_t layer) {
  sb_kronecker *k = context;
  const sb_world *world = k->model->world;
  const size_t first = k->starts[world->rank], own = k->starts[world->rank + 1] - first;
  const bool last = k->wave + 1 == k->waves;
  SB_SPAN_INTO(&k->seconds, SB_TRACE_COMPUTE, "sum scores", layer);
  SB_AGREE(world, fetch(k));
  sb_exact *earlier = k->earlier ? k->earlier + layer * k->share : NULL;
  if (last) {
    if (earlier) add_to(k->sums + first, earlier, own);
    SB_TRY(sb_exact_allreduce(k->sums, k->count, world->comm));
    SB_AGREE(world, score_layer(k, layer));
  } else {
    SB_TRY(sb_exact_reduce_scatter(k->part, k->sums, k->starts, world->comm));
    add_to(earlier, k->part, own);
  }
  if (layer == 0) k->wave++; /* the backward pass ends there */
  return SB_OK;
}

static sb_status prepare_waves(sb_kronecker *k) {
  size_t count;
  k->wave = 0;
  if (k->waves == 1) return SB_OK;
  if (!sb_mul_size(k->model->config.layers, k->share, &count))
    return sb_fail(SB_ERR_MEMORY, "second moments of all layers overflow");
  sb_free(&k->earlier);
  sb_free(&k->part);
  SB_TRY(sb_alloc(&k->earlier, count, sizeof *k->earlier, "second moments of all layers"));
  return sb_alloc(&k->part, k->share, sizeof *k->part, "second moments of a layer");
}

sb_status sb_kronecker_measure(sb_kronecker *k, sb_pass *pass, sb_losses *losses, double *loss) {
  const sb_pass_hooks hooks = {.context = k,
                               .begin_layer = begin_layer,
                               .end_sequence = end_sequence,
                               .end_layer = end_layer,
                               .factors = add_factors};
  k->losses = losses;
  k->tokens = sb_pass_seqlen(pass) - 1;
  k->sequences = sb_pass_sequences(pass);
  k->waves = sb_pass_waves(pass);
  SB_AGREE(k->model->world, prepare_waves(k));
  return sb_pass_gradients(pass, &hooks, loss);
}

double sb_kronecker_seconds(const sb_kronecker *k) {
  return k->seconds;
}
