/* The scales of a coded model's groups as trainable numbers: those of this rank, in the coded rows
 * that it owns.
 *
 * A group is one row of one block. The logarithm of its scale is trained, by Adam (Kingma and Ba,
 * arXiv 1412.6980); the base of an asymmetric 1-bit group is proportional to its scale. Groups of a
 * layer are numbered matrix by matrix, row by row, block column by block column. A rank owns a run
 * of them, because it owns a run of units. */
#ifndef SB_QUANT_SCALES_H
#define SB_QUANT_SCALES_H

#include <stdint.h>

#include "base/status.h"
#include "model/model.h"
#include "model/sizes.h"

typedef struct sb_scales sb_scales;

/* *out = the scales of `coded` (SB_CODING_CODES), where training begins; `coded` is borrowed.
 * Collective. Memory: 16 bytes per group of this rank, and O(ranks + layers). */
sb_status sb_scales_create(sb_model *coded, sb_scales **out);
/* Bytes that sb_scales_create takes. Pure. */
size_t sb_scales_bytes(const sb_sizes *sizes);
void sb_scales_free(sb_scales **scales);

/* starts[ranks + 1]: rank r owns the groups [starts[r], starts[r + 1]) of the layer. Local. */
void sb_scales_owners(const sb_scales *scales, size_t layer, size_t *starts);
size_t sb_scales_layers(const sb_scales *scales);
/* Number of this rank's groups in the layers before `layer`, which may be the
 * number of layers. Local. */
size_t sb_scales_before(const sb_scales *scales, size_t layer);

/* Back to the scales before training, in state and rows; no steps are done. Local. O(groups). */
void sb_scales_reset(sb_scales *scales);

/* One step of Adam, written into the coded rows, which no rank holds acquired. gradients[i] is the
 * gradient of the loss with respect to the logarithm of the scale of this rank's group i, layer
 * after layer. The rate of a b-bit group is `rate / 2^(b-1)`, so its outermost level moves by at
 * most `rate` scales. Local. O(groups). */
void sb_scales_step(sb_scales *scales, const float *gradients, double rate);

/* The training state of this rank's groups, SB_SCALES_STATE_BYTES each, in their order: to be saved
 * (quant/tune_checkpoint.h), or overwritten by a saved one. sb_scales_restore then continues after
 * `steps` steps. It writes the scales into the coded rows, which no rank holds acquired. Local. */
enum { SB_SCALES_STATE_BYTES = 16 };
uint8_t *sb_scales_state(sb_scales *scales);
void sb_scales_restore(sb_scales *scales, size_t steps);

#endif
