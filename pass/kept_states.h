/* What layers and LM head compute on the way forward and read again on the way back: kept for the
 * wave at hand, as far as memory allows, instead of recomputed. Results have the same bits.
 *
 * Kept are the layers from `first_layer` on, the last to be computed and the first to be used, and
 * the logits. All memory is the device's. All functions are local. */
#ifndef SB_PASS_KEPT_STATES_H
#define SB_PASS_KEPT_STATES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "pass/layer.h"
#include "pass/wave.h"

typedef struct sb_kept_states {
  const sb_wave *wave;
  size_t first_layer;   /* this layer and all after it are kept; `layers`: none */
  sb_layer_work **work; /* [layers - first_layer, room] */
  bool logits;          /* there is room for [room, T, vocab] */
  bool fresh;           /* the wave at hand has gone forward, and not back yet */
} sb_kept_states;

/* Takes at most `bytes`: logits first, which cost the most to make, then layers. `base` is scratch
 * with gradients (sb_layer_work_create). Wave and base outlive the states; sb_kept_states_free also
 * releases the memory of a failed call. */
sb_status sb_kept_states_allocate(sb_kept_states *states, const sb_wave *wave,
                                  const sb_layer_work *base, size_t bytes);
void sb_kept_states_free(sb_kept_states *states);
/* Bytes that sb_kept_states_allocate takes, and the head for logits, where it may take `bytes`. */
size_t sb_kept_states_bytes(const sb_wave_sizes *wave, size_t bytes);

/* The scratch of layer `layer` for sequence s that keeps its forward part, or NULL. */
static inline sb_layer_work *sb_kept_states_work(const sb_kept_states *k, size_t layer, size_t s) {
  return layer < k->first_layer ? NULL : k->work[(layer - k->first_layer) * k->wave->room + s];
}

#endif
