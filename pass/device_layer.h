/* A decoder layer on its way to the device: from the rows in a group's image to matrices that are
 * ready for products (pass/product.h). One layer at a time. On a backend with memory of its own,
 * the rows of the next layer are copied meanwhile.
 *
 * All functions are local and queue on a stream, with one exception. Where the devices of a node
 * bring rows to each other (backend->peers[SB_PEERS_NODE] > 1), sb_device_layer_load and
 * sb_device_layer_fetch are collective over the node; before the call ranks agree that none has
 * failed (sb_device_agree). `matrix` is a number within the layer (model/arch.h). */
#ifndef SB_PASS_DEVICE_LAYER_H
#define SB_PASS_DEVICE_LAYER_H

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/precision_map.h"
#include "pass/device_layer_room.h"
#include "pass/layer_call.h"

typedef struct sb_device_layer sb_device_layer;

/* Buffers for one layer of `model` at a time, each matrix as large as in any layer. `keep_packed`
 * (models with SB_CODING_CODES only): matrices stay packed, for forward passes; dense weights have
 * no buffer. SB_ERR_MEMORY. Release with sb_device_layer_free. */
sb_status sb_device_layer_create(const sb_model *model, sb_backend *backend, bool keep_packed,
                                 sb_device_layer **out);
void sb_device_layer_free(sb_device_layer **prepared);

/* From the next load on the matrices' GEMMs have the precisions of `map`, emulated
 * (pass/product_emulated.c); NULL: all are high, as they are at first. Model of source weights,
 * without orders, otherwise SB_ERR_INTERNAL. SB_ERR_MEMORY. */
sb_status sb_device_layer_emulate(sb_device_layer *prepared, const sb_precision_map *map,
                                  const sb_lowprec_options *options);

/* Fills the buffers with layer `layer` at the model's present bits: source rows, rounded where the
 * bit map is set; decoded codes; or, with `keep_packed`, the codes themselves. Rows and columns of
 * an indexed model (model/orders.h) go back to their natural order, unless codes are kept. `image`
 * is the acquired group. On a unified backend the result may point into it, so it stays acquired
 * until the last operation that reads the weights is queued. */
sb_status sb_device_layer_load(sb_device_layer *prepared, sb_stream stream, size_t layer,
                               const void *image);
/* Starts to copy the rows of `layer`, the next to be loaded, while the device computes with the
 * present layer. Call it when all operations with the layer before the present one are done.
 * `image` is acquired, and stays so until the operations on `layer` are done. Does nothing on a
 * unified backend. */
sb_status sb_device_layer_fetch(sb_device_layer *prepared, size_t layer, const void *image);

/* The loaded layer, until the next load. */
const sb_layer_weights *sb_device_layer_weights(const sb_device_layer *prepared);
/* *w_dev = the weights [rows, cols] of a matrix with rows and columns in their stored order, until
 * the next call. Not for matrices that stay packed. */
sb_status sb_device_layer_stored(const sb_device_layer *prepared, sb_stream stream, size_t matrix,
                                 const void **w_dev);
/* The source rows of a matrix in their stored order, in the source's type, on the device; NULL for
 * models of codes. */
const void *sb_device_layer_source(const sb_device_layer *prepared, size_t matrix);
/* In trellis codes, on the device, else NULL: the factors of the matrix's columns, fp16 [cols]. */
const uint16_t *sb_device_layer_col_factors(const sb_device_layer *prepared, size_t matrix);
/* On the device, where the model's grids are fitted, else NULL: the importance of the matrix's
 * input channels, f32 [cols]; the fits of its groups at the present bits (fit_blocks), without
 * meaning where all bits are 0. */
const float *sb_device_layer_importance(const sb_device_layer *prepared, size_t matrix);
const uint8_t *sb_device_layer_fits(const sb_device_layer *prepared, size_t matrix);

/* sb_world_agree on backends where a load is collective; else `status` itself. */
sb_status sb_device_agree(const sb_world *world, const sb_backend *backend, sb_status status);

#endif
