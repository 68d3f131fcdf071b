/* Takes all of a rank's sequences through a model, one layer at a time, for a caller that decides
 * between layers what the next one is. Rounding takes them through a layer in full precision, to
 * see its inputs, then through the same layer as it was rounded.
 *
 *   sb_layerwise_embed                              once
 *   sb_layerwise_observe, sb_layerwise_advance      per layer, for each local sequence
 *
 * Waves play no part: the activations of every local sequence stay here all the time. They lie on
 * the device, or in host memory where the device has too little. Then those of a sequence are
 * copied when it is its turn; results are the same. */
#ifndef SB_PASS_LAYERWISE_H
#define SB_PASS_LAYERWISE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "pass/device_layer.h"
#include "pass/layer.h"
#include "pass/sequences.h"
#include "pass/wave.h"

typedef struct sb_layerwise sb_layerwise;

/* *out = activations of all local sequences, for layers of the shape of `model`, which also has the
 * embedding. Model, backend and sequences outlive it. Device memory: T x hidden activations for
 * each local sequence, or for one where the host has them, and for one more; the scratch of a layer
 * (sb_layer_work_bytes); a chunk of the embedding on a backend that is not unified. SB_ERR_MEMORY
 * names the memory that is short. Collective; ranks decide together where activations lie. */
sb_status sb_layerwise_create(sb_model *model, sb_backend *backend, const sb_sequences *sequences,
                              sb_layerwise **out);
void sb_layerwise_free(sb_layerwise **layerwise);
/* Bytes that sb_layerwise_create takes: for the activations of all `wave->room` local sequences;
 * for the rest. `coded`: the embedding has widths. */
size_t sb_layerwise_state_bytes(const sb_wave_sizes *wave);
size_t sb_layerwise_bytes(const sb_wave_sizes *wave, bool ordered, bool coded);

/* Number of its sequences: all of this rank's. */
size_t sb_layerwise_local(const sb_layerwise *layerwise);
bool sb_layerwise_on_host(const sb_layerwise *layerwise);
/* The stream on which all calls queue. */
sb_stream sb_layerwise_stream(const sb_layerwise *layerwise);

/* The activations become the embeddings of the tokens by the table of `from`: the input of layer 0.
 * `from` is the model of sb_layerwise_create, or that model coded, whose layers then make up for
 * the errors of its embedding too. Gathers the table once, or once per sequence where the host has
 * the activations. Collective. */
sb_status sb_layerwise_embed(sb_layerwise *layerwise, sb_model *from);
/* Takes sequence s < local through a layer that is prepared; `hooks` get the inputs of its matrices
 * (`input`). The activations stay as they are. Local; queues on the stream. */
sb_status sb_layerwise_observe(sb_layerwise *layerwise, const sb_device_layer *prepared, size_t s,
                               const sb_layer_hooks *hooks);
/* The same without hooks; the activations of the sequence become the layer's output. Local; queues
 * on the stream. */
sb_status sb_layerwise_advance(sb_layerwise *layerwise, const sb_device_layer *prepared, size_t s);

/* On the device, [T, hidden] activations: what the last sb_layerwise_observe made. */
const void *sb_layerwise_observed(const sb_layerwise *layerwise);
/* *state_dev = the activations of sequence s < local, until the next call about another. Local;
 * queues on the stream. */
sb_status sb_layerwise_state(sb_layerwise *layerwise, size_t s, const void **state_dev);

#endif
