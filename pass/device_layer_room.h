/* Sizes of a layer's buffers on a device (pass/device_layer.c), over all layers of a model, and
 * rows in images. Local, pure. */
#ifndef SB_PASS_DEVICE_LAYER_ROOM_H
#define SB_PASS_DEVICE_LAYER_ROOM_H

#include <stdbool.h>
#include <stddef.h>

#include "model/model.h"

/* The most that matrices with the same number have in any layer. `source_bytes` are of their rows
 * in an image, which also differ by type, or by bits where rows are packed. */
typedef struct sb_device_layer_room {
  size_t rows, cols, weights, groups, source_bytes;
} sb_device_layer_room;

/* Of matrix `number`. O(places of all layers). */
sb_device_layer_room sb_device_layer_room_of(const sb_model *model, size_t number);

/* The rows of a place (a norm, a chunk of the embedding or head) as found in the group's image. */
const void *sb_place_image(const sb_model *model, const sb_place *place, const void *image);
/* Bytes of a place's rows in an image of its group. */
size_t sb_place_bytes(const sb_model *model, const sb_place *place);
/* *out [place->units] = where each unit begins in those. The caller frees it. SB_ERR_MEMORY. */
sb_status sb_place_offsets(const sb_model *model, const sb_place *place, size_t **out);
/* Elements of the longest vector of any layer. */
size_t sb_device_layer_longest_vector(const sb_arch *arch);
/* Elements of the longest vector of a role; 0 where the role is no vector of a layer. */
size_t sb_device_layer_vector(const sb_arch *arch, sb_role role);
/* True where column factors of trellis codes are copied to the device. */
bool sb_device_layer_copies_factors(const sb_model *model, const sb_backend *backend);
/* True where the store holds rows and columns in orders that products have to undo. */
bool sb_model_is_indexed(const sb_model *model);

#endif
