/* How much of what a layer adds to the residual stream its rounding changes, measured while layers
 * are rounded (quant/gptq.h): both versions of a layer get the same inputs, those that the rounded
 * layers before it make.
 *
 *   e = sum |y' - y|^2 / sum |y - x|^2
 *
 * over the last SB_LAYER_ERROR_TOKENS tokens of the first SB_LAYER_ERROR_SEQUENCES sequences of all
 * ranks, with the layer's input x, its output y by the source's weights and y' by the rounded ones.
 * The same bits on any number of ranks. The work is that of copying these states. */
#ifndef SB_QUANT_LAYER_ERRORS_H
#define SB_QUANT_LAYER_ERRORS_H

#include <stddef.h>

#include "base/status.h"
#include "pass/layerwise.h"

enum { SB_LAYER_ERROR_SEQUENCES = 8, SB_LAYER_ERROR_TOKENS = 64 };

typedef struct sb_layer_errors {
  const sb_world *world;
  sb_backend *backend;
  sb_layerwise *sequences;
  size_t seqlen, tokens, hidden;
  size_t local;          /* of this rank's sequences, the first ones, are looked at */
  void *states;          /* [tokens, hidden] activations, from the device */
  float *input, *output; /* [tokens, hidden]; [local, tokens, hidden] by the source's weights */
  double *added, *error; /* [local] sums of squares */
} sb_layer_errors;

/* Looks at `sequences`, whose model has `hidden` channels; they outlive it. SB_ERR_MEMORY. Local.
 * sb_layer_errors_free also releases the memory of a failed call. */
sb_status sb_layer_errors_create(const sb_world *world, sb_backend *backend,
                                 sb_layerwise *sequences, size_t seqlen, size_t hidden,
                                 sb_layer_errors *out);
void sb_layer_errors_free(sb_layer_errors *errors);
/* Bytes that it takes on a rank with `local` sequences, for activations of `act` bytes. Pure. */
size_t sb_layer_errors_bytes(size_t local, size_t seqlen, size_t hidden, size_t act);

/* After sb_layerwise_observe, and after sb_layerwise_advance, of sequence s < errors->local, whose
 * work the stream has done. Local. */
sb_status sb_layer_errors_observed(sb_layer_errors *errors, size_t s);
sb_status sb_layer_errors_advanced(sb_layer_errors *errors, size_t s);
/* *relative = e of the layer that all sequences have gone through; NaN where a sum is not finite,
 * or the layer adds nothing. Collective. */
sb_status sb_layer_errors_of_layer(const sb_layer_errors *errors, double *relative);

#endif
