#include "quant/gptq.h"

#include <string.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "kernels/blockrow.h"
#include "model/inputs.h"
#include "quant/checkpoint_key.h"
#include "quant/moments.h"
#include "quant/packed_model.h"
#include "pass/pass_impl.h"
#include "quant/round_stack.h"
#include "quant/gptq_checkpoint.h"

enum { TOKENS_A_CHANNEL = 4 };

typedef struct work {
  sb_model *source, *packed;
  sb_backend *backend;
  sb_pass *pass; /* of the source, one wave: its inputs[0] holds what the layer at hand gets */
  sb_device_layer *prepared; /* of the packed model */
  bool fitted;
  int refine;
  sb_moments *moments;
  size_t most_local;           /* sequences of the rank that has most */
  sb_key key;                  /* of `rounded` */
  sb_gptq_checkpoint *rounded; /* NULL without a checkpoint */
  sb_gptq_stats *stats;
} work;

/* Where a block row's codes go. */
typedef struct blockrow {
  const sb_tiling *grid;
  const uint8_t *bits;
  size_t unit;
  uint8_t *to; /* its place in the packed store */
} blockrow;

/* ---- one layer ---- */

static sb_status take_moments(void *context, sb_stream stream, sb_linear first, const void *x) {
  work *w = context;
  const double start = sb_now();
  SB_TRY(sb_moments_take(w->moments, stream, first, x));
  w->stats->moment_seconds += sb_now() - start;
  return SB_OK;
}

static sb_status layer(work *w, const sb_device_layer *prepared, size_t s, void *out,
                       sb_status (*hook)(void *, sb_stream, sb_linear, const void *)) {
  sb_pass *p = w->pass;
  const size_t h = p->model->config.hidden;
  const double start = sb_now(), before = w->stats->moment_seconds;
  const sb_layer_hooks hooks = {.context = w, .input = hook};
  const sb_layer_call call = sb_pass_layer_call(p, prepared, &hooks);
  SB_TRY(sb_layer_forward(&call, p->work, sb_pass_at(p, out, s, h),
                          sb_pass_at(p, p->inputs[0], s, h)));
  SB_TRY(w->backend->op->sync(w->backend, p->stream));
  w->stats->forward_seconds += sb_now() - start - (w->stats->moment_seconds - before);
  return SB_OK;
}

/* Collective. */
static sb_status collect(work *w, size_t layer_index, const void *image) {
  sb_pass *p = w->pass;
  sb_status status = sb_device_agree(p->model->world, w->backend,
                                     sb_moments_begin(w->moments, p->stream, layer_index));
  if (status == SB_OK) status = sb_device_layer_load(p->prepared, p->stream, layer_index, image);
  for (size_t s = 0; s < w->most_local; s++) {
    if (status == SB_OK && s < p->local) status = layer(w, p->prepared, s, p->normed, take_moments);
    const double start = sb_now();
    SB_TRY(sb_moments_end_sequence(w->moments, p->stream, s, status));
    w->stats->moment_seconds += sb_now() - start;
  }
  return SB_OK;
}

static sb_status factorise(work *w) {
  const double start = sb_now();
  sb_moments_repair repair = {0};
  SB_TRY(sb_moments_factorise(w->moments, w->pass->stream, &repair));
  w->stats->repaired += repair.repaired;
  w->stats->dead += repair.dead;
  w->stats->factor_seconds += sb_now() - start;
  return SB_OK;
}

/* The block rows of this rank that share an input: counted first, then loaded. */
typedef struct batch {
  const work *work;
  size_t input, count, rows, loaded;
  blockrow *places;
  sb_round_stack *stack;
} batch;

static const sb_matrix *matrix_of(const work *w, const sb_place *place, size_t input) {
  const sb_model_tensor *t = &w->packed->arch.tensors[place->tensor];
  const sb_linear which = sb_linear_of_role(t->role);
  return which != SB_LINEARS && sb_input_of(which) == input
             ? sb_model_matrix(w->packed, t->layer, which)
             : NULL;
}

static sb_status count_unit(void *context, const sb_place *place, size_t unit, const char *from,
                            uint8_t *to) {
  batch *b = context;
  const sb_matrix *matrix = matrix_of(b->work, place, b->input);
  (void)from, (void)to;
  if (!matrix) return SB_OK;
  b->count++;
  b->rows += sb_tiling_rows_of(&matrix->grid, unit);
  return SB_OK;
}

static sb_status load_unit(void *context, const sb_place *place, size_t unit, const char *from,
                           uint8_t *to) {
  batch *b = context;
  const work *w = b->work;
  const sb_matrix *matrix = matrix_of(w, place, b->input);
  if (!matrix) return SB_OK;
  const uint8_t *bits =
      w->packed->bits + matrix->first_block + unit * sb_tiling_block_cols(&matrix->grid);
  b->places[b->loaded++] = (blockrow){&matrix->grid, bits, unit, to};
  return sb_round_stack_add(b->stack, from, w->packed->dtypes[place->tensor],
                            sb_tiling_rows_of(&matrix->grid, unit), bits);
}

static sb_status load_batch(work *w, batch *b, size_t group, const void *image) {
  SB_TRY(sb_packed_model_visit(w->source, w->packed, group, image, count_unit, b));
  const sb_round_setup setup = {.backend = w->backend,
                                .stream = w->pass->stream,
                                .rows = b->rows,
                                .count = b->count,
                                .cols = sb_moments_width(w->moments, b->input),
                                .block_cols = w->packed->blocking.cols,
                                .symmetry = w->packed->blocking.symmetry,
                                .refine = w->refine > 0,
                                .panels_there = sb_moments_on_device(w->moments)};
  SB_TRY(sb_alloc(&b->places, b->count, sizeof *b->places, "block rows"));
  SB_TRY(sb_round_stack_create(&setup, &b->stack));
  return sb_packed_model_visit(w->source, w->packed, group, image, load_unit, b);
}

/* One sweep over the moments: the residuals of what was rounded, or a pass that makes it better.
 * Collective. */
static sb_status sweep(work *w, batch *b, bool first) {
  const size_t n = sb_moments_width(w->moments, b->input);
  sb_status status = SB_OK;
  for (size_t begin = 0, end = 0; begin < n; begin = end) {
    const float *panel;
    SB_TRY(sb_moments_rows(w->moments, b->input, begin, &end, &panel));
    if (status == SB_OK)
      status = first ? sb_round_stack_residual(b->stack, begin, end, panel)
                     : sb_round_stack_refine(b->stack, begin, end, panel);
  }
  return sb_world_agree(w->packed->world, status);
}

/* Collective. */
static sb_status refine_batch(work *w, batch *b) {
  const double start = sb_now();
  if (w->refine == 0) return SB_OK;
  for (int pass = 0; pass <= w->refine; pass++) SB_TRY(sweep(w, b, pass == 0));
  w->stats->refine_seconds += sb_now() - start;
  return SB_OK;
}

/* Into the store. */
static sb_status pack_batch(batch *b, sb_symmetry symmetry) {
  sb_status status = SB_OK;
  for (size_t k = 0; k < b->count && status == SB_OK; k++) {
    const blockrow *row = &b->places[k];
    const size_t rows = sb_tiling_rows_of(row->grid, row->unit);
    sb_group *groups = NULL;
    uint8_t *codes = NULL;
    SB_GO(
        sb_alloc_raw(&groups, rows * sb_tiling_block_cols(row->grid), sizeof *groups, "block row"));
    SB_GO(sb_alloc_raw(&codes, rows * row->grid->cols, 1, "block row"));
    SB_GO(sb_round_stack_get(b->stack, k, groups, codes));
    sb_blockrow_pack(row->to, groups, codes, row->grid, row->unit, row->bits, symmetry);
  done:
    sb_free(&groups);
    sb_free(&codes);
  }
  return status;
}

/* All block rows of the batch go through the columns together, because the factor may pass by only
 * once. Collective. */
static sb_status round_batch(work *w, batch *b) {
  const size_t n = sb_moments_width(w->moments, b->input);
  sb_status status = SB_OK;
  for (size_t begin = 0, end = 0; begin < n; begin = end) {
    const float *panel;
    size_t ld;
    const double start = sb_now();
    SB_TRY(sb_moments_panel(w->moments, b->input, begin, &end, &panel, &ld));
    const double there = sb_now();
    if (status == SB_OK) status = sb_round_stack_round(b->stack, begin, end, panel, ld, w->fitted);
    w->stats->factor_seconds += there - start;
    w->stats->round_seconds += sb_now() - there;
  }
  SB_AGREE(w->packed->world, status);
  SB_TRY(refine_batch(w, b));
  return sb_world_agree(w->packed->world, pack_batch(b, w->packed->blocking.symmetry));
}

/* The matrices of a layer that share an input. Collective. */
static sb_status round_input(work *w, size_t group, const void *image, size_t input) {
  batch b = {.work = w, .input = input};
  sb_status status = sb_world_agree(w->packed->world, load_batch(w, &b, group, image));
  if (status == SB_OK) status = round_batch(w, &b);
  sb_round_stack_free(&b.stack);
  sb_free(&b.places);
  return status;
}

/* Embedding, head, norm: as they are. Collective. */
static sb_status copy_group(work *w, size_t group) {
  const void *image;
  SB_TRY(sb_store_acquire(w->source->store, group, &image));
  SB_AGREE(w->source->world, sb_packed_model_copy(w->source, w->packed, group, image));
  return sb_store_release(w->source->store, group);
}

/* Collective. */
static sb_status round_layer(work *w, size_t layer_index) {
  const size_t group = w->source->layer_first + layer_index;
  const void *image;
  SB_TRY(sb_store_acquire(w->source->store, group, &image));
  if (layer_index + 1 < w->source->config.layers) /* is on its way while this one is worked on */
    SB_TRY(sb_store_prefetch(w->source->store, group + 1));
  SB_TRY(collect(w, layer_index, image));
  SB_TRY(factorise(w));
  SB_AGREE(w->source->world, sb_packed_model_copy(w->source, w->packed, group, image));
  for (size_t input = 0; input < SB_INPUTS; input++) SB_TRY(round_input(w, group, image, input));
  SB_TRY(sb_store_release(w->source->store, group));
  return w->rounded ? sb_gptq_checkpoint_add(w->rounded, layer_index) : SB_OK;
}

/* The sequences through the layer as it is now. Collective. */
static sb_status go_through(work *w, size_t layer_index) {
  const size_t group = w->source->layer_first + layer_index;
  const void *image;
  SB_TRY(sb_store_acquire(w->packed->store, group, &image));
  sb_status status = sb_device_layer_load(w->prepared, w->pass->stream, layer_index, image);
  for (size_t s = 0; status == SB_OK && s < w->pass->local; s++)
    status = layer(w, w->prepared, s, w->pass->inputs[0], NULL);
  if (status == SB_OK)
    status = w->backend->op->sync(w->backend, w->pass->stream); /* the image is given back */
  SB_AGREE(w->source->world, status);
  return sb_store_release(w->packed->store, group);
}

/* ---- all ---- */

/* With fewer tokens than channels H is singular; with few more it says little about other tokens,
 * and rounding by it may cost more than it saves. Measured: docs/measurements/factor.md. */
static void warn_of_few_tokens(const work *w, const sb_sequences *calibration) {
  size_t widest = 0;
  for (size_t i = 0; i < SB_INPUTS; i++)
    widest = sb_max_size(widest, sb_moments_width(w->moments, i));
  const size_t tokens = calibration->count * calibration->seqlen,
               enough = TOKENS_A_CHANNEL * widest;
  if (tokens >= enough) return;
  sb_log_line(
      "warning: %zu calibration tokens are %s for the %zu channels of the widest input: %s, and "
      "rounding may do worse than to nearest; %zu tokens (%zu sequences of %zu) would do",
      tokens, tokens < widest ? "too few" : "few", widest,
      tokens < widest ? "its second moments are singular but for damping"
                      : "its second moments are uncertain",
      enough, sb_div_up(enough, calibration->seqlen), calibration->seqlen);
}

static sb_status prepare(work *w, const sb_gptq_options *options, const sb_sequences *calibration) {
  const sb_world *world = w->source->world;
  w->most_local = sb_div_up(calibration->count, (size_t)world->size);
  const sb_moments_setup setup = {.model = w->source,
                                  .backend = w->backend,
                                  .seqlen = calibration->seqlen,
                                  .local = w->pass->local,
                                  .most_local = w->most_local,
                                  .input_bytes = options->input_bytes,
                                  .damping = options->damping,
                                  .keep = w->refine > 0,
                                  .mode = options->factor};
  SB_TRY(sb_moments_create(&setup, &w->moments));
  w->stats->factor = sb_moments_mode(w->moments);
  warn_of_few_tokens(w, calibration);
  return sb_world_agree(world, sb_device_layer_create(w->packed, w->backend, false, &w->prepared));
}

/* What rounded layers depend on; `source` has its bits. Collective. */
static sb_status make_key(work *w, const sb_gptq_options *options,
                          const sb_sequences *calibration) {
  const sb_model *m = w->source;
  sb_key *key = &w->key;
  if (!options->checkpoint) return SB_OK;
  sb_checkpoint_key_begin(key, m, w->backend);
  SB_TRY(sb_checkpoint_key_add_model(key, "model", "model or order of channels (--reorder)",
                                     w->source));
  sb_checkpoint_key_add_number(key, "bits", "bit map", XXH64(m->bits, m->blocks, 0));
  SB_TRY(sb_checkpoint_key_add_tokens(key, "tokens",
                                      "calibration (--calib, --round-seqs, --seqlen, --seed)",
                                      m->world, calibration));
  sb_key_add(key, "grid", "--grid", "%s", options->fitted ? "fitted" : "plain");
  sb_key_add(key, "refine", "--refine", "%d", options->refine);
  sb_key_add(key, "factor", "--factor", "%s", sb_factor_mode_names[options->factor]);
  sb_key_add(key, "damping", "damping", "%.17g", options->damping);
  return SB_OK;
}

static void release(work *w) {
  sb_gptq_checkpoint_close(&w->rounded);
  sb_moments_free(&w->moments);
  sb_device_layer_free(&w->prepared);
  sb_pass_free(&w->pass);
}

static sb_status run(work *w, const sb_gptq_options *options, const sb_sequences *calibration) {
  sb_model *m = w->source;
  SB_TRY(prepare(w, options, calibration));
  for (size_t g = 0; g < m->groups; g++)
    if (g < m->layer_first || g >= m->layer_first + m->config.layers) SB_TRY(copy_group(w, g));
  SB_TRY(sb_head_embed(w->pass, 0));
  if (options->checkpoint)
    SB_TRY(sb_gptq_checkpoint_open(options->checkpoint, &w->key, w->packed, &w->stats->resumed,
                                   &w->rounded));
  const size_t done = w->stats->resumed;
  for (size_t layer = 0; layer < m->config.layers; layer++) {
    if (layer >= done) SB_TRY(round_layer(w, layer));
    if (layer + 1 < m->config.layers && done < m->config.layers) SB_TRY(go_through(w, layer));
    if (layer >= done) /* of what this run has to do */
      sb_tick(options->ticker, (double)(layer + 1 - done) / (double)(m->config.layers - done));
  }
  return SB_OK;
}

sb_status sb_gptq(sb_model *source, sb_backend *backend, const sb_sequences *calibration,
                  const sb_gptq_options *options, sb_model **out, sb_gptq_stats *stats) {
  const sb_world *world = source->world;
  work w = {.source = source,
            .backend = backend,
            .fitted = options->fitted,
            .refine = options->refine,
            .stats = stats};
  uint8_t *bits = NULL;
  *stats = (sb_gptq_stats){0};
  const sb_pass_setup setup =
      sb_sequences_setup(calibration, source, backend, SIZE_MAX, SB_NO_TICKER); /* one wave */
  sb_status status = sb_packed_model_create(source, &w.packed);
  if (status == SB_OK) status = make_key(&w, options, calibration);
  if (status == SB_OK)
    status = sb_world_agree(world, sb_alloc(&bits, source->blocks, 1, "bit map"));
  if (status == SB_OK) {
    /* the source's layers are wanted in full precision */
    memcpy(bits, source->bits, source->blocks);
    memset(source->bits, 0, source->blocks);
    status = sb_pass_create(&setup, &w.pass);
    if (status == SB_OK) status = run(&w, options, calibration);
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
