#include "pass/kept_inputs.h"

#include "base/memory.h"

/* The first of dev[0] to dev[i] that shares its memory with dev[i]. */
static size_t owner_of(const sb_kept_inputs *k, size_t i) {
  switch (k->keeper) {
  case SB_KEEP_NOTHING:
    return 0;
  case SB_KEEP_ON_HOST:
    return i < k->wave->model->config.layers ? i % 2 : i;
  default:
    return i;
  }
}

static size_t sequence_bytes(const sb_kept_inputs *k) {
  const sb_wave *w = k->wave;
  return w->T * w->model->config.hidden * sb_dtype_size(w->backend->act);
}

sb_status sb_kept_inputs_allocate(sb_kept_inputs *k, const sb_wave *wave, sb_keeper keeper) {
  sb_backend *b = wave->backend;
  const size_t layers = wave->model->config.layers;
  k->wave = wave;
  k->keeper = keeper;
  const size_t bytes = wave->room * sequence_bytes(k);
  SB_TRY(sb_alloc(&k->dev, layers + 1, sizeof *k->dev, "activations"));
  if (keeper == SB_KEEP_ON_HOST) {
    SB_TRY(sb_alloc(&k->host, layers, sizeof *k->host, "activations"));
    for (size_t i = 0; i < layers; i++)
      SB_TRY(b->op->host_alloc(b, bytes, "activations", &k->host[i]));
  }
  for (size_t i = 0; i <= layers; i++) {
    const size_t owner = owner_of(k, i);
    if (owner == i) SB_TRY(b->op->alloc(b, bytes, "activations", &k->dev[i]));
    k->dev[i] = k->dev[owner];
  }
  return SB_OK;
}

size_t sb_kept_inputs_bytes(const sb_wave_sizes *w, sb_keeper keeper) {
  const size_t layers = w->model->layers,
               each = sb_wave_sizes_states(w) * sb_dtype_size(w->backend->act);
  const size_t on_device = keeper == SB_KEEP_NOTHING   ? 1
                           : keeper == SB_KEEP_ON_HOST ? 3
                                                       : layers + 1;
  const size_t on_host = keeper == SB_KEEP_ON_HOST ? layers : 0;
  return (on_device + on_host) * each + (layers + 1 + on_host) * sizeof(void *);
}

void sb_kept_inputs_free(sb_kept_inputs *k) {
  if (!k->wave) return;
  sb_backend *b = k->wave->backend;
  const size_t layers = k->wave->model->config.layers;
  for (size_t i = 0; k->dev && i <= layers; i++)
    if (owner_of(k, i) == i) b->op->free(b, k->dev[i]);
  for (size_t i = 0; k->host && i < layers; i++) b->op->host_free(b, k->host[i]);
  sb_free(&k->dev);
  sb_free(&k->host);
}

static void *at(const sb_kept_inputs *k, void *buffer, size_t s) {
  return (char *)buffer + s * sequence_bytes(k);
}

sb_status sb_kept_inputs_save(const sb_kept_inputs *k, size_t layer, size_t s) {
  const sb_wave *w = k->wave;
  if (!k->host) return SB_OK;
  return w->backend->op->download(w->backend, w->stream, at(k, k->host[layer], s),
                                  at(k, k->dev[layer], s), sequence_bytes(k));
}

sb_status sb_kept_inputs_restore(const sb_kept_inputs *k, size_t layer, size_t s) {
  const sb_wave *w = k->wave;
  if (!k->host) return SB_OK;
  return w->backend->op->upload(w->backend, w->stream, at(k, k->dev[layer], s),
                                at(k, k->host[layer], s), sequence_bytes(k));
}
