#include "pass/layerwise.h"

#include "base/log.h"
#include "base/memory.h"
#include "pass/embedding.h"
#include "pass/layers.h"

struct sb_layerwise {
  const sb_sequences *sequences;
  sb_wave wave; /* all local sequences, or one at a time where the host has the activations */
  sb_vocab vocab;
  sb_layers layers;
  size_t most_local; /* of all ranks */
  void *states_dev;  /* [room, T, hidden] */
  void *output_dev;  /* [T, hidden] of a layer that is observed */
  void *host;        /* [local, T, hidden], or NULL */
};

static size_t sequence_bytes(const sb_layerwise *l) {
  const sb_wave *w = &l->wave;
  return w->T * w->model->config.hidden * sb_dtype_size(w->backend->act);
}

static sb_status allocate(sb_layerwise *l, bool on_host) {
  sb_backend *b = l->wave.backend;
  const size_t each = sequence_bytes(l);
  SB_TRY(sb_wave_allocate(&l->wave));
  if (on_host)
    SB_TRY(
        b->op->host_alloc(b, sb_max_size(l->sequences->local, 1) * each, "activations", &l->host));
  SB_TRY(b->op->alloc(b, l->wave.room * each, "inputs of a layer", &l->states_dev));
  SB_TRY(b->op->alloc(b, each, "outputs of a layer", &l->output_dev));
  SB_TRY(sb_vocab_allocate(&l->vocab, &l->wave, &(sb_vocab_needs){0}));
  return sb_layers_allocate(&l->layers, &l->wave, false);
}

static sb_status create(sb_model *model, sb_backend *backend, const sb_sequences *sequences,
                        bool on_host, sb_layerwise **out) {
  const size_t most_local = sb_div_up(sequences->count, (size_t)model->world->size);
  SB_TRY(sb_world_alloc(model->world, out, sizeof **out, "sequences"));
  sb_layerwise *l = *out;
  l->sequences = sequences;
  l->most_local = most_local;
  l->wave = (sb_wave){.model = model,
                      .backend = backend,
                      .T = sequences->seqlen,
                      .room = on_host ? 1 : sb_max_size(most_local, 1)};
  const sb_status status = sb_world_agree(model->world, allocate(l, on_host));
  if (status != SB_OK) sb_layerwise_free(out);
  return status;
}

sb_status sb_layerwise_create(sb_model *model, sb_backend *backend, const sb_sequences *sequences,
                              sb_layerwise **out) {
  sb_model_pin(model, backend);
  sb_status status = create(model, backend, sequences, false, out);
  if (status != SB_ERR_MEMORY || backend->unified) return status;
  sb_log_line("memory       inputs of a layer are kept on the host from here on: %s", sb_message());
  return create(model, backend, sequences, true, out);
}

size_t sb_layerwise_state_bytes(const sb_wave_sizes *w) {
  const size_t each = w->T * w->model->arch->config.hidden * sb_dtype_size(w->backend->act);
  return (w->room + 1) * each;
}

size_t sb_layerwise_bytes(const sb_wave_sizes *w, bool ordered, bool coded) {
  return sizeof(sb_layerwise) + sb_wave_bytes(w) +
         sb_vocab_bytes(w, &(sb_vocab_needs){.coded_embedding = coded}) +
         sb_layers_bytes(w, false, ordered);
}

void sb_layerwise_free(sb_layerwise **layerwise) {
  sb_layerwise *l = *layerwise;
  if (!l) return;
  sb_backend *b = l->wave.backend;
  sb_layers_free(&l->layers);
  sb_vocab_free(&l->vocab);
  b->op->free(b, l->output_dev);
  b->op->free(b, l->states_dev);
  b->op->host_free(b, l->host);
  sb_wave_free(&l->wave);
  sb_free(layerwise);
}

size_t sb_layerwise_local(const sb_layerwise *l) {
  return l->sequences->local;
}

bool sb_layerwise_on_host(const sb_layerwise *l) {
  return l->host != NULL;
}

sb_stream sb_layerwise_stream(const sb_layerwise *l) {
  return l->wave.stream;
}

static void *host_place(const sb_layerwise *l, size_t s) {
  return (char *)l->host + s * sequence_bytes(l);
}

/* The wave of sequences [first, first + count). */
static sb_status enter(sb_layerwise *l, size_t first, size_t count) {
  const uint32_t *tokens = count > 0 ? l->sequences->tokens + first * l->wave.T : NULL;
  return sb_wave_enter(&l->wave, tokens, first, count);
}

/* Where the host has the activations, the table comes once for every sequence: every rank goes as
 * often as the one with most. */
sb_status sb_layerwise_embed(sb_layerwise *l, sb_model *from) {
  const sb_world *world = l->wave.model->world;
  sb_backend *b = l->wave.backend;
  const size_t local = l->sequences->local, room = l->wave.room;
  l->vocab.model = from;
  for (size_t first = 0; first < sb_max_size(l->most_local, 1); first += room) {
    const size_t count = local > first ? sb_min_size(room, local - first) : 0;
    SB_AGREE(world, enter(l, first, count));
    SB_TRY(sb_embedding_forward(&l->vocab, l->states_dev));
    sb_status status = SB_OK;
    if (l->host && count > 0)
      status = b->op->download(b, l->wave.stream, host_place(l, first), l->states_dev,
                               count * sequence_bytes(l));
    SB_THEN(b->op->sync(b, l->wave.stream));
    SB_AGREE(world, status);
  }
  return SB_OK;
}

/* *x: the activations of sequence s on the device. */
static sb_status bring(sb_layerwise *l, size_t s, void **x) {
  const sb_wave *w = &l->wave;
  *x = l->states_dev;
  if (l->host)
    return w->backend->op->upload(w->backend, w->stream, *x, host_place(l, s), sequence_bytes(l));
  *x = sb_wave_act(w, l->states_dev, s, w->model->config.hidden);
  return SB_OK;
}

sb_status sb_layerwise_observe(sb_layerwise *l, const sb_device_layer *prepared, size_t s,
                               const sb_layer_hooks *hooks) {
  void *x;
  SB_TRY(bring(l, s, &x));
  const sb_layer_call call = sb_layers_call(&l->layers, prepared, s, hooks);
  return sb_layer_forward(&call, l->layers.work, l->output_dev, x);
}

sb_status sb_layerwise_advance(sb_layerwise *l, const sb_device_layer *prepared, size_t s) {
  const sb_wave *w = &l->wave;
  void *x;
  SB_TRY(bring(l, s, &x));
  const sb_layer_call call = sb_layers_call(&l->layers, prepared, s, NULL);
  SB_TRY(sb_layer_forward(&call, l->layers.work, x, x));
  if (!l->host) return SB_OK;
  return w->backend->op->download(w->backend, w->stream, host_place(l, s), x, sequence_bytes(l));
}

const void *sb_layerwise_observed(const sb_layerwise *l) {
  return l->output_dev;
}

sb_status sb_layerwise_state(sb_layerwise *l, size_t s, const void **state_dev) {
  void *x;
  SB_TRY(bring(l, s, &x));
  *state_dev = x;
  return SB_OK;
}
