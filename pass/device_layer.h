/* From a group's image in the store to weights on the device, in stream order. Local; but where the
 * devices of a node bring rows to each other (backend->peers[SB_PEERS_NODE] > 1)
 * sb_device_layer_load and sb_device_layer_fetch are collective over the node, and the caller has
 * ranks agree before that nothing has failed: sb_device_agree. */
#ifndef SB_PASS_DEVICE_LAYER_H
#define SB_PASS_DEVICE_LAYER_H

#include "base/status.h"
#include "kernels/backend.h"
#include "pass/layer_call.h"
#include "model/model.h"

typedef struct sb_device_layer sb_device_layer;

/* sb_world_agree where the backend asks for it. */
sb_status sb_device_agree(const sb_world *world, const sb_backend *backend, sb_status status);

/* Buffers for one layer at a time of `model`, and, on a backend that is not unified, for the rows
 * of the one after it. `keep_packed`, of models with SB_CODING_CODES only: matrices stay packed
 * and are multiplied as they are, in forward passes; there is no buffer for their weights. */
sb_status sb_device_layer_create(const sb_model *model, sb_backend *backend, bool keep_packed,
                                 sb_device_layer **out);
void sb_device_layer_free(sb_device_layer **prepared);
/* Device bytes that sb_device_layer_create takes. */
size_t sb_device_layer_bytes(const sb_model *model, const sb_backend *backend, bool keep_packed);

/* Fills the buffers with decoder layer `layer` as it stands: source rows, rounded where the model's
 * bit map says so, or decoded packed rows, or packed rows as they are; of an indexed model
 * (model/orders.h), brought back to their places after that, unless they stay packed. `image` is
 * the acquired group; on a unified backend the result may point into it, so it stays acquired until
 * the last operation that reads the weights is queued. */
sb_status sb_device_layer_load(sb_device_layer *prepared, sb_stream stream, size_t layer,
                               const void *image);
/* Starts to copy the rows of `layer`, which sb_device_layer_load is to be called with next, while
 * the device computes with those of the layer before it. All operations with the layer before that
 * one must be done. `image`, acquired, stays so until the operations on this layer are. Nothing on
 * a unified backend. */
sb_status sb_device_layer_fetch(sb_device_layer *prepared, size_t layer, const void *image);
const sb_layer_weights *sb_device_layer_weights(const sb_device_layer *prepared);
/* The same weights of one matrix with rows and columns as the store has them, until the next call.
 * Not where matrices stay packed. */
sb_status sb_device_layer_stored(const sb_device_layer *prepared, sb_stream stream, size_t which,
                                 const void **w);
/* The source rows of a matrix of the prepared layer, as the store has them (an indexed model's are
 * in their order), on the device, in the source's type; NULL for packed models. */
const void *sb_device_layer_source(const sb_device_layer *prepared, size_t which);

/* Where the model's grids are fitted: the importance of the matrix' input channels, f32 [cols], and
 * the fits at its bits (fit_blocks; without meaning where all bits are 0), both on the device; else
 * NULL. */
const float *sb_device_layer_importance(const sb_device_layer *prepared, size_t which);
const uint8_t *sb_device_layer_fits(const sb_device_layer *prepared, size_t which);

/* The rows of a place (a norm, a chunk of the embedding or head) as found in the group's image. */
const void *sb_place_image(const sb_model *model, const sb_place *place, const void *image);

#endif
