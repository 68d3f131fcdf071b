#include "quant/gptq.h"

#include <math.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/trace.h"
#include "kernels/shared/trellis.h"
#include "model/model_check.h"
#include "pass/layerwise.h"
#include "quant/checkpoint_key.h"
#include "quant/encode.h"
#include "quant/gptq_checkpoint.h"
#include "quant/gptq_input.h"
#include "quant/gptq_pivots.h"
#include "quant/gptq_tables.h"
#include "quant/layer_errors.h"
#include "quant/moments.h"

enum { TOKENS_A_CHANNEL = 4 };

typedef struct work {
  sb_model *source, *coded;
  sb_backend *backend;
  const sb_gptq_options *options;
  sb_layerwise *sequences;             /* what the layer at hand gets */
  sb_device_layer *full, *coded_layer; /* a layer of the source, of the coded model */
  sb_moments *moments;
  void *transformed_dev; /* [T, widest input] operands: an input in transformed coordinates, or NULL
                            on grids */
  sb_gptq_input rounding;
  sb_layer_errors errors;         /* its `local` is 0 where nobody asks */
  size_t layer, seqlen;           /* at hand; tokens of a sequence */
  size_t most_local;              /* sequences of the rank that has most */
  sb_key key;                     /* of the checkpoint */
  sb_gptq_checkpoint *checkpoint; /* or NULL */
  sb_gptq_stats *stats;
  sb_ticker_part part; /* of the progress: tables, then layers */
} work;

/* ---- sequences through one layer: of the source for its moments, of the coded model for the next
 * layer's inputs ---- */

/* Trellis codes stand for S of W = .. S H diag(col_factors), so the inputs that S multiplies are
 * those of W times the factors, transformed. */
static sb_status transform(const work *w, sb_stream stream, size_t input, const void **x) {
  sb_backend *b = w->backend;
  const sb_model *m = w->source;
  const sb_arch_input *in = sb_arch_input_of(&m->arch, w->layer, input);
  if (!w->transformed_dev) return SB_OK;
  const void *from = *x;
  *x = w->transformed_dev;
  return b->op->hadamard(b, stream, w->transformed_dev, from, b->operand, w->seqlen, in->width,
                         m->blocking.cols, sb_device_layer_col_factors(w->full, in->first_matrix),
                         NULL);
}

static sb_status take_moments(void *context, sb_stream stream, size_t input, const void *x) {
  work *w = context;
  SB_SPAN_INTO(&w->stats->moment_seconds, SB_TRACE_COMPUTE, "take moments", input);
  SB_TRY(transform(w, stream, input, &x));
  return sb_moments_take(w->moments, stream, input, x);
}

/* Sequence s through the layer in full precision; moments take its inputs. */
static sb_status observe(work *w, size_t s) {
  SB_SPAN(SB_TRACE_COMPUTE, "observe sequence", s);
  const double start = sb_now(), before = w->stats->moment_seconds;
  const sb_layer_hooks hooks = {.context = w, .input = take_moments};
  SB_TRY(sb_layerwise_observe(w->sequences, w->full, s, &hooks));
  SB_TRY(w->backend->op->sync(w->backend, sb_layerwise_stream(w->sequences)));
  w->stats->forward_seconds += sb_now() - start - (w->stats->moment_seconds - before);
  return s < w->errors.local ? sb_layer_errors_observed(&w->errors, s) : SB_OK;
}

/* Sequence s through the layer as it was rounded. */
static sb_status advance(work *w, size_t s) {
  SB_SPAN_INTO(&w->stats->forward_seconds, SB_TRACE_COMPUTE, "advance sequence", s);
  SB_TRY(sb_layerwise_advance(w->sequences, w->coded_layer, s));
  SB_TRY(w->backend->op->sync(w->backend, sb_layerwise_stream(w->sequences)));
  return s < w->errors.local ? sb_layer_errors_advanced(&w->errors, s) : SB_OK;
}

/* Collective. */
static sb_status collect(work *w, size_t layer_index, const void *image) {
  const sb_stream stream = sb_layerwise_stream(w->sequences);
  w->layer = layer_index;
  sb_status status = sb_device_agree(w->source->world, w->backend,
                                     sb_moments_begin(w->moments, stream, layer_index));
  SB_THEN(sb_device_layer_load(w->full, stream, layer_index, image));
  for (size_t s = 0; s < w->most_local; s++) {
    if (status == SB_OK && s < sb_layerwise_local(w->sequences)) status = observe(w, s);
    SB_SPAN_INTO(&w->stats->moment_seconds, SB_TRACE_COMPUTE, "add moments", s);
    SB_TRY(sb_moments_end_sequence(w->moments, stream, s, status));
  }
  return SB_OK;
}

/* The first `count` of this rank's sequences through the layer as it is now. Collective. */
static sb_status go_through(work *w, size_t layer_index, size_t count) {
  SB_SPAN(SB_TRACE_PHASE, "go through layer", layer_index);
  const size_t group = w->source->layer_first + layer_index;
  const void *image;
  SB_TRY(sb_store_acquire(w->coded->store, group, &image));
  const sb_stream stream = sb_layerwise_stream(w->sequences);
  sb_status status = sb_device_layer_load(w->coded_layer, stream, layer_index, image);
  for (size_t s = 0; status == SB_OK && s < count; s++) status = advance(w, s);
  if (status == SB_OK)
    status = w->backend->op->sync(w->backend, stream); /* the image is given back */
  SB_AGREE(w->source->world, status);
  return sb_store_release(w->coded->store, group);
}

/* ---- one layer: moments, factors, codes ---- */

static sb_status factorise(work *w) {
  SB_SPAN_INTO(&w->stats->factor_seconds, SB_TRACE_COMPUTE, "factorise", SB_TRACE_NONE);
  sb_moments_repair repair = {0};
  SB_TRY(sb_moments_factorise(w->moments, sb_layerwise_stream(w->sequences), &repair));
  if (repair.repaired + repair.dead > 0)
    sb_log_debug("gptq", "%zu inputs needed more damping, %zu channels are dead", repair.repaired,
                 repair.dead);
  w->stats->repaired += repair.repaired;
  w->stats->dead += repair.dead;
  return SB_OK;
}

/* Collective. */
static sb_status tell_pivots(work *w, size_t layer) {
  const sb_arch *arch = &w->source->arch;
  float *pivots = w->options->pivots;
  for (size_t i = 0; pivots && i < sb_arch_inputs(arch, layer); i++)
    SB_TRY(sb_gptq_pivots(w->moments, w->source->world, w->backend,
                          sb_layerwise_stream(w->sequences), i,
                          pivots + sb_arch_input_of(arch, layer, i)->first_channel));
  return SB_OK;
}

/* Collective. */
static sb_status round_layer(work *w, size_t layer_index) {
  SB_SPAN(SB_TRACE_PHASE, "round layer", layer_index);
  const size_t group = w->source->layer_first + layer_index;
  const void *image;
  SB_TRY(sb_store_acquire(w->source->store, group, &image));
  if (layer_index + 1 < w->source->config.layers) /* is on its way while this one is worked on */
    SB_TRY(sb_store_prefetch(w->source->store, group + 1));
  SB_TRY(collect(w, layer_index, image));
  SB_TRY(factorise(w));
  SB_TRY(tell_pivots(w, layer_index));
  sb_encode_copy(w->source, w->coded, group, image);
  for (size_t input = 0; input < sb_arch_inputs(&w->source->arch, layer_index); input++)
    SB_TRY(sb_gptq_input_round(&w->rounding, group, image, input));
  SB_TRY(sb_store_release(w->source->store, group));
  return w->checkpoint ? sb_gptq_checkpoint_add(w->checkpoint, group) : SB_OK;
}

/* The final norm, and tables that are not coded: as they are. Collective. */
static sb_status copy_group(work *w, size_t group) {
  if (sb_model_place_matrix(w->coded, &w->coded->places[w->coded->group_place[group]]))
    return SB_OK;
  SB_SPAN(SB_TRACE_COMPUTE, "copy group", group);
  const void *image;
  SB_TRY(sb_store_acquire(w->source->store, group, &image));
  sb_encode_copy(w->source, w->coded, group, image);
  return sb_store_release(w->source->store, group);
}

/* ---- set-up ---- */

static size_t widest_input(const sb_model *m) {
  size_t widest = 0;
  for (size_t i = 0; i < m->arch.input_count; i++)
    widest = sb_max_size(widest, m->arch.inputs[i].width);
  return widest;
}

/* With fewer tokens than channels H is singular; with few more it says little about other tokens,
 * and rounding by it may cost more than it saves. Measured: docs/measurements/factor.md. */
static void warn_of_few_tokens(const work *w, const sb_sequences *calibration) {
  const size_t widest = widest_input(w->source);
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

size_t sb_gptq_transform_bytes(sb_code_kind code_kind, const sb_backend *b, size_t T,
                               size_t widest) {
  return sb_is_trellis(code_kind) ? T * widest * sb_dtype_size(b->operand) : 0;
}

static sb_status prepare_transform(work *w) {
  sb_backend *b = w->backend;
  const sb_model *m = w->source;
  if (!sb_is_trellis(m->blocking.code_kind)) return SB_OK;
  return b->op->alloc(b,
                      sb_gptq_transform_bytes(m->blocking.code_kind, b, w->seqlen, widest_input(m)),
                      "transformed inputs of a sequence", &w->transformed_dev);
}

static int passes(const work *w) {
  return sb_is_trellis(w->source->blocking.code_kind) ? 0 : w->options->refine;
}

/* Collective. */
static sb_status prepare(work *w, const sb_sequences *calibration) {
  const sb_world *world = w->source->world;
  w->most_local = sb_div_up(calibration->count, (size_t)world->size);
  w->seqlen = calibration->seqlen;
  const sb_moments_setup setup = {.model = w->source,
                                  .backend = w->backend,
                                  .seqlen = calibration->seqlen,
                                  .local = sb_layerwise_local(w->sequences),
                                  .most_local = w->most_local,
                                  .input_bytes = w->options->input_bytes,
                                  .damping = w->options->damping,
                                  .keep = passes(w) > 0 || w->options->pivots,
                                  .mode = w->options->factor};
  SB_TRY(sb_moments_create(&setup, &w->moments));
  w->stats->factor = sb_moments_mode(w->moments);
  sb_log_debug("gptq", "second moments %s; %zu sequence%s of this rank, at most %zu of any",
               sb_factor_mode_names[w->stats->factor], sb_layerwise_local(w->sequences),
               sb_text_s(sb_layerwise_local(w->sequences)), w->most_local);
  warn_of_few_tokens(w, calibration);
  w->rounding = (sb_gptq_input){.source = w->source,
                                .coded = w->coded,
                                .backend = w->backend,
                                .stream = sb_layerwise_stream(w->sequences),
                                .moments = w->moments,
                                .fitted = w->options->fitted,
                                .refine = passes(w)};
  SB_AGREE(world, prepare_transform(w));
  if (w->options->layer_errors)
    SB_AGREE(world, sb_layer_errors_create(world, w->backend, w->sequences, w->seqlen,
                                           w->source->config.hidden, &w->errors));
  SB_AGREE(world, sb_device_layer_create(w->source, w->backend, false, &w->full));
  w->rounding.layer = w->full;
  return sb_world_agree(world,
                        sb_device_layer_create(w->coded, w->backend, false, &w->coded_layer));
}

static sb_gptq_tables tables_of(work *w) {
  const sb_gptq_options *o = w->options;
  return (sb_gptq_tables){.source = w->source,
                          .coded = w->coded,
                          .backend = w->backend,
                          .stats = o->tables,
                          .damping = o->damping,
                          .fitted = o->table_fitted,
                          .refine = o->table_refine,
                          .factor = o->factor,
                          .checkpoint = w->checkpoint,
                          .done = w->stats->resumed_tables,
                          .ticker = sb_ticker_of_part(&w->part)};
}

/* What rounded layers depend on; `source` has its bits. Collective. */
static sb_status make_key(work *w, const sb_sequences *calibration) {
  const sb_gptq_options *options = w->options;
  const sb_model *m = w->source;
  sb_key *key = &w->key;
  if (!options->checkpoint) return SB_OK;
  sb_checkpoint_key_begin(key, m, w->backend);
  SB_TRY(sb_checkpoint_key_add_model(key, "model", "model or order of channels (--reorder)",
                                     w->source));
  sb_key_add_hash(key, "bits", "bit map", XXH64(m->bits, m->all_blocks, 0));
  SB_TRY(sb_checkpoint_key_add_tokens(key, "tokens",
                                      "calibration (--calib, --round-seqs, --seqlen, --seed)",
                                      m->world, calibration));
  sb_key_add(key, "grid", "--grid", "%s", options->fitted ? "fitted" : "plain");
  sb_key_add(key, "refine", "--refine", "%d", options->refine);
  sb_key_add(key, "factor", "--factor", "%s", sb_factor_mode_names[options->factor]);
  sb_key_add_real(key, "damping", "damping", options->damping);
  const sb_gptq_tables tables = tables_of(w);
  return sb_gptq_tables_key(&tables, key);
}

/* ---- all layers ---- */

/* Layers that the checkpoint has are not rounded again, but the sequences go through them, unless
 * it has all. Collective. */
static sb_status run_layers(work *w) {
  const size_t layers = w->source->config.layers, done = w->stats->resumed;
  double *errors = w->options->layer_errors;
  for (size_t layer = 0; errors && layer < layers; layer++) errors[layer] = NAN;
  for (size_t layer = 0; layer < layers && done < layers; layer++) {
    if (layer >= done) SB_TRY(round_layer(w, layer));
    if (layer + 1 < layers) SB_TRY(go_through(w, layer, sb_layerwise_local(w->sequences)));
    if (errors && layer >= done) {
      /* behind the last layer nobody waits for the others */
      if (layer + 1 == layers) SB_TRY(go_through(w, layer, w->errors.local));
      SB_TRY(sb_layer_errors_of_layer(&w->errors, &errors[layer]));
    }
    if (layer >= done)
      sb_tick(sb_ticker_of_part(&w->part), (double)(layer + 1 - done) / (double)(layers - done));
  }
  return SB_OK;
}

/* What the checkpoint has is done. Collective. */
static sb_status open_checkpoint(work *w) {
  sb_gptq_stats *stats = w->stats;
  const size_t tables = sb_gptq_table_groups(w->coded);
  size_t groups;
  if (!w->options->checkpoint) return SB_OK;
  SB_TRY(
      sb_gptq_checkpoint_open(w->options->checkpoint, &w->key, w->coded, &groups, &w->checkpoint));
  stats->resumed_tables = sb_min_size(groups, tables);
  stats->resumed = groups - stats->resumed_tables;
  return SB_OK;
}

/* The tables' share of the weights that are to be rounded. */
static double table_share(const work *w) {
  const sb_model *m = w->source;
  double weights = 0;
  if (w->stats->resumed_tables == sb_gptq_table_groups(m)) return 0;
  for (size_t i = 0; i < m->table_count; i++)
    if (m->tables[i].coded) weights += (double)m->config.vocab * (double)m->config.hidden;
  return weights / (weights + (double)m->arch.linear_parameters);
}

/* Collective. */
static sb_status run_tables(work *w) {
  sb_model *m = w->source;
  for (size_t g = 0; g < m->groups; g++)
    if (g < m->layer_first || g >= m->layer_first + m->config.layers) SB_TRY(copy_group(w, g));
  SB_SPAN_INTO(&w->stats->table_seconds, SB_TRACE_PHASE, "round tables", SB_TRACE_NONE);
  sb_gptq_tables tables = tables_of(w);
  w->part.share = table_share(w);
  const sb_status status = sb_gptq_tables_round(&tables);
  w->stats->repaired += tables.repair.repaired;
  w->stats->dead += tables.repair.dead;
  w->part.first = w->part.share;
  w->part.share = 1.0 - w->part.first;
  return status;
}

/* Collective. */
static sb_status run(work *w, const sb_sequences *calibration) {
  SB_TRY(open_checkpoint(w));
  SB_TRY(run_tables(w));
  SB_TRY(sb_layerwise_create(w->source, w->backend, calibration, &w->sequences));
  SB_TRY(prepare(w, calibration));
  SB_TRY(sb_layerwise_embed(w->sequences, w->coded));
  return run_layers(w);
}

static void release(work *w) {
  w->stats->factor_seconds += w->rounding.factor_seconds;
  w->stats->round_seconds += w->rounding.round_seconds;
  w->stats->refine_seconds += w->rounding.refine_seconds;
  sb_gptq_checkpoint_close(&w->checkpoint);
  sb_moments_free(&w->moments);
  sb_layer_errors_free(&w->errors);
  w->backend->op->free(w->backend, w->transformed_dev);
  sb_device_layer_free(&w->full);
  sb_device_layer_free(&w->coded_layer);
  sb_layerwise_free(&w->sequences);
}

sb_status sb_gptq(sb_model *source, sb_backend *backend, const sb_sequences *calibration,
                  const sb_gptq_options *options, sb_model **out, sb_gptq_stats *stats) {
  work w = {.source = source,
            .backend = backend,
            .options = options,
            .stats = stats,
            .part = {.whole = options->ticker}};
  uint8_t *bits = NULL;
  *stats = (sb_gptq_stats){0};
  sb_status status = sb_encode_create(source, &w.coded);
  SB_THEN(make_key(&w, calibration));
  /* the bit map is known to the coded model; the source's layers are wanted in full precision */
  SB_THEN(sb_model_lift_bits(source, &bits));
  if (status == SB_OK) {
    status = run(&w, calibration);
    sb_model_return_bits(source, &bits);
  }
  release(&w);
  if (status == SB_OK) sb_model_check(w.coded);
  if (status == SB_OK)
    *out = w.coded;
  else if (w.coded)
    sb_model_free(&w.coded);
  return status;
}
