#include "pass/kept_states.h"

#include "base/memory.h"

/* How far `bytes` reach. */
typedef struct reach {
  bool logits;
  size_t layers; /* the last ones */
} reach;

/* `layer`: bytes of a layer for all sequences, `logits`: of their logits. */
static reach reach_of(size_t bytes, size_t layers, size_t layer, size_t logits) {
  reach r = {.logits = logits <= bytes};
  if (r.logits) bytes -= logits;
  r.layers = sb_min_size(bytes / layer, layers);
  return r;
}

static size_t logit_bytes(size_t room, size_t T, const sb_config *c) {
  return room * T * c->vocab * sizeof(float);
}

static size_t layer_bytes(const sb_backend *b, const sb_arch *arch, size_t room, size_t T) {
  return room * (sb_layer_work_kept_bytes(b->act, b->operand, arch, T) + sizeof(sb_layer_work *));
}

sb_status sb_kept_states_allocate(sb_kept_states *k, const sb_wave *w, const sb_layer_work *base,
                                  size_t bytes) {
  const sb_arch *arch = &w->model->arch;
  const size_t layers = w->model->config.layers;
  const reach r = reach_of(bytes, layers, layer_bytes(w->backend, arch, w->room, w->T),
                           logit_bytes(w->room, w->T, &w->model->config));
  k->wave = w;
  k->logits = r.logits;
  k->first_layer = layers - r.layers;
  if (r.layers == 0) return SB_OK;
  SB_TRY(sb_alloc(&k->work, r.layers * w->room, sizeof *k->work, "kept layers"));
  for (size_t i = 0; i < r.layers * w->room; i++)
    SB_TRY(sb_layer_work_create_kept(base, arch, w->T, &k->work[i]));
  return SB_OK;
}

void sb_kept_states_free(sb_kept_states *k) {
  if (!k->wave) return;
  const size_t count = (k->wave->model->config.layers - k->first_layer) * k->wave->room;
  for (size_t i = 0; k->work && i < count; i++) sb_layer_work_free(&k->work[i]);
  sb_free(&k->work);
}

size_t sb_kept_states_bytes(const sb_wave_sizes *w, size_t bytes) {
  const size_t layer = layer_bytes(w->backend, w->model->arch, w->room, w->T),
               logits = logit_bytes(w->room, w->T, &w->model->arch->config);
  const reach r = reach_of(bytes, w->model->layers, layer, logits);
  return r.layers * layer + (r.logits ? logits : 0);
}
