#include "pass/layers.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/trace.h"
#include "model/rope_table.h"
#include "pass/group_walk.h"

static sb_status upload_rope(sb_layers *l) {
  const sb_wave *w = l->wave;
  sb_backend *b = w->backend;
  const size_t count = w->T * w->model->config.head_dim;
  float *table = NULL;
  SB_TRY(sb_alloc(&table, count, sizeof *table, "RoPE table"));
  sb_rope_table(&w->model->config, w->T, table);
  sb_status status = b->op->upload(b, w->stream, l->cos_sin_dev, table, count * sizeof *table);
  SB_THEN(b->op->sync(b, w->stream));
  sb_free(&table);
  return status;
}

sb_status sb_layers_allocate(sb_layers *l, const sb_wave *wave, bool gradients) {
  sb_backend *b = wave->backend;
  const sb_model *m = wave->model;
  l->wave = wave;
  SB_TRY(sb_config_check_length(&m->config, wave->T));
  SB_TRY(b->op->alloc(b, wave->T * m->config.head_dim * sizeof(float), "RoPE table",
                      (void **)&l->cos_sin_dev));
  SB_TRY(upload_rope(l));
  return sb_layer_work_create(b, &m->arch, wave->T, gradients, m->orders.mode == SB_REORDER_INDEXED,
                              &l->work);
}

size_t sb_layers_bytes(const sb_wave_sizes *w, bool gradients, bool ordered) {
  const sb_arch *arch = w->model->arch;
  return w->T * arch->config.head_dim * sizeof(float) +
         sb_layer_work_bytes(w->backend->act, w->backend->operand, arch, w->T, gradients, ordered);
}

void sb_layers_free(sb_layers *l) {
  if (!l->wave) return;
  l->wave->backend->op->free(l->wave->backend, l->cos_sin_dev);
  sb_coded_room_free(&l->coding);
  sb_layer_work_free(&l->work);
}

sb_status sb_layers_emulate(sb_layers *l) {
  const sb_wave *w = l->wave;
  if (l->coding) return SB_OK;
  return sb_coded_room_create(w->backend, w->T, sb_layer_widest_side(&w->model->arch), &l->coding);
}

sb_layer_call sb_layers_call(const sb_layers *l, const sb_device_layer *prepared, size_t s,
                             const sb_layer_hooks *hooks) {
  const sb_wave *w = l->wave;
  return (sb_layer_call){.backend = w->backend,
                         .stream = w->stream,
                         .config = &w->model->config,
                         .weights = sb_device_layer_weights(prepared),
                         .cos_sin_dev = l->cos_sin_dev,
                         .T = w->T,
                         .hooks = hooks,
                         .coding = l->coding,
                         .key = l->key,
                         .sequence = sb_wave_sequence(w, s)};
}

/* Acquires the next layer and has its rows copied while the device computes. Every rank comes here
 * once per layer, whatever `status` became of its own work. Collective. */
static sb_status look_ahead(sb_wave *w, sb_device_layer *prepared, sb_group_walk *walk,
                            sb_status status) {
  const sb_model *m = w->model;
  size_t group;
  const void *image;
  if (w->backend->unified) return status;
  const sb_status ahead = sb_group_walk_ahead(walk, &group, &image);
  status = sb_device_agree(m->world, w->backend, status);
  if (status != SB_OK || ahead != SB_OK) return status != SB_OK ? status : ahead;
  return image ? sb_device_layer_fetch(prepared, group - m->layer_first, image) : SB_OK;
}

/* Names the layer in a failure of numbers that does not; a device tells them when it is waited
 * for. */
static sb_status name_layer(size_t layer, sb_status status) {
  char text[512];
  if (status != SB_ERR_NUMERIC || strncmp(sb_message(), "layer ", 6) == 0) return status;
  snprintf(text, sizeof text, "%s", sb_message());
  return sb_fail(status, "layer %zu: %s", layer, text);
}

/* The next layer's rows come while the last sequence, at the latest,
 * is computed with. Collective. */
static sb_status each_sequence(sb_wave *w, sb_device_layer *prepared, sb_group_walk *walk,
                               size_t layer, sb_status status, const sb_layer_visitor *visitor) {
  for (size_t s = 0; s + 1 < w->count && status == SB_OK; s++)
    status = visitor->sequence(visitor->context, layer, s);
  status = look_ahead(w, prepared, walk, status);
  if (status == SB_OK && w->count > 0)
    status = visitor->sequence(visitor->context, layer, w->count - 1);
  return status == SB_OK ? w->backend->op->sync(w->backend, w->stream) : status;
}

static sb_status prepare(sb_wave *w, sb_device_layer *prepared, size_t layer, const void *image,
                         sb_status status) {
  SB_SPAN(SB_TRACE_COMPUTE, "prepare layer", layer);
  status = sb_device_agree(w->model->world, w->backend, status);
  return status == SB_OK ? sb_device_layer_load(prepared, w->stream, layer, image) : status;
}

sb_status sb_layers_walk(sb_wave *w, sb_device_layer *prepared, bool backward,
                         const sb_layer_visitor *visitor) {
  const sb_model *m = w->model;
  const size_t layers = m->config.layers, first = backward ? layers - 1 : 0;
  sb_group_walk walk = sb_group_walk_begin(m->store, m->layer_first + first, layers, backward);
  while (sb_group_walk_more(&walk)) {
    size_t group;
    const void *image;
    sb_status status = sb_group_walk_enter(&walk, &group, &image);
    const size_t layer = group - m->layer_first;
    SB_SPAN(SB_TRACE_COMPUTE, backward ? "layer backward" : "layer forward", layer);
    status = prepare(w, prepared, layer, image, status);
    if (status == SB_OK && visitor->begin) status = visitor->begin(visitor->context, layer);
    status = name_layer(layer, each_sequence(w, prepared, &walk, layer, status, visitor));
    SB_AGREE(m->world, status);
    if (visitor->end) SB_TRY(visitor->end(visitor->context, layer));
    SB_TRY(sb_group_walk_leave(&walk));
  }
  return SB_OK;
}
