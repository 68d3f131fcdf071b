/* The inputs of the layers, for the wave at hand. A forward pass without gradients needs one
 * buffer. A pass with gradients keeps the inputs of all layers, on the device or, where that has
 * too little memory, on the host. All functions are local and queue on the wave's stream. */
#ifndef SB_PASS_KEPT_INPUTS_H
#define SB_PASS_KEPT_INPUTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "pass/wave.h"

typedef enum sb_keeper {
  SB_KEEP_NOTHING,   /* one buffer for all layers */
  SB_KEEP_ON_DEVICE, /* a buffer per layer */
  SB_KEEP_ON_HOST    /* a buffer per layer in host memory, and two on the device in turn */
} sb_keeper;

typedef struct sb_kept_inputs {
  const sb_wave *wave;
  sb_keeper keeper;
  void **dev; /* [layers + 1] activations [room, T, hidden]: the input of each layer, and the output
                 of the last one; the same memory several times where buffers are shared */
  void **host; /* [layers]; NULL unless SB_KEEP_ON_HOST */
} sb_kept_inputs;

/* The wave outlives it. sb_kept_inputs_free also releases the memory of a failed call. */
sb_status sb_kept_inputs_allocate(sb_kept_inputs *inputs, const sb_wave *wave, sb_keeper keeper);
void sb_kept_inputs_free(sb_kept_inputs *inputs);
/* Bytes that sb_kept_inputs_allocate takes, of host and device together. */
size_t sb_kept_inputs_bytes(const sb_wave_sizes *wave, sb_keeper keeper);

/* After the forward call of `layer` on sequence s: its input is kept. */
sb_status sb_kept_inputs_save(const sb_kept_inputs *inputs, size_t layer, size_t s);
/* Before the backward call of `layer` on sequence s: its input is in dev[layer]. */
sb_status sb_kept_inputs_restore(const sb_kept_inputs *inputs, size_t layer, size_t s);

#endif
