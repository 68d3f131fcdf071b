/* Takes the wave through all layers. One layer's rows are on the device; those of the next are on
 * their way while the device computes. */
#ifndef SB_PASS_LAYERS_H
#define SB_PASS_LAYERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "pass/device_layer.h"
#include "pass/layer.h"
#include "pass/wave.h"

/* The memory that every layer needs besides its weights. */
typedef struct sb_layers {
  const sb_wave *wave;
  sb_layer_work *work;   /* of one sequence */
  float *cos_sin_dev;    /* f32 [T, head_dim / 2, 2] (model/rope_table.h) */
  sb_coded_room *coding; /* where products are emulated, else NULL */
  uint64_t key;          /* of the batch, for random bits */
} sb_layers;

/* The wave outlives it. sb_layers_free also releases the memory of a failed call. Local. */
sb_status sb_layers_allocate(sb_layers *layers, const sb_wave *wave, bool gradients);
void sb_layers_free(sb_layers *layers);
/* Bytes that sb_layers_allocate takes, without the gradient of a matrix; `ordered`: models with
 * indexed orders. */
size_t sb_layers_bytes(const sb_wave_sizes *wave, bool gradients, bool ordered);

/* Adds what emulated products need; once is enough. SB_ERR_MEMORY. Local. */
sb_status sb_layers_emulate(sb_layers *layers);

/* A call of a layer that is prepared, for sequence s of the wave. */
sb_layer_call sb_layers_call(const sb_layers *layers, const sb_device_layer *prepared, size_t s,
                             const sb_layer_hooks *hooks);

/* The work in each layer. */
typedef struct sb_layer_visitor {
  void *context;
  /* The layer is prepared. May be NULL. Local. */
  sb_status (*begin)(void *context, size_t layer);
  /* Sequence s of the wave. Local. */
  sb_status (*sequence)(void *context, size_t layer, size_t s);
  /* All sequences are done. May be NULL. Collective. */
  sb_status (*end)(void *context, size_t layer);
} sb_layer_visitor;

/* Prepares each layer of the wave's model in `prepared`, the first one first or, `backward`, the
 * last one, and has it visited. Collective: ranks agree after the sequences of each layer. */
sb_status sb_layers_walk(sb_wave *wave, sb_device_layer *prepared, bool backward,
                         const sb_layer_visitor *visitor);

#endif
