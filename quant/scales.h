/* The scales of a packed model's groups as numbers that can be trained: this rank's, in the packed
 * rows it owns.
 *
 * A group is one row of one block. What is trained is the logarithm of its scale, by Adam (Kingma
 * and Ba, arXiv 1412.6980); the base of an asymmetric 1-bit group goes with its scale. Groups of a
 * layer are numbered matrix by matrix, row by row, block column by block column; a rank
 * owns a run of them, because it owns a run of units. */
#ifndef SB_QUANT_SCALES_H
#define SB_QUANT_SCALES_H

#include <stdint.h>

#include "base/status.h"
#include "model/model.h"
#include "model/sizes.h"

typedef struct sb_scales sb_scales;

/* `packed` (SB_CODING_CODES) stays until sb_scales_free; its scales are where training starts.
 * Collective. 16 bytes a group this rank owns, O(ranks + layers). */
sb_status sb_scales_create(sb_model *packed, sb_scales **out);
/* What sb_scales_create takes. Pure. */
size_t sb_scales_bytes(const sb_sizes *sizes);
void sb_scales_free(sb_scales **scales);

/* starts[r] to starts[r + 1]: the groups of the layer that rank r owns; starts has ranks + 1
 * elements. Local. */
void sb_scales_owners(const sb_scales *scales, size_t layer, size_t *starts);
size_t sb_scales_layers(const sb_scales *scales);
/* Number of this rank's groups in the layers before `layer`; of all of them for the number of
 * layers. Local. */
size_t sb_scales_before(const sb_scales *scales, size_t layer);

/* One step, into the packed rows, which no rank holds acquired: gradients[i], of this rank's group
 * i, layer after layer, is that of the loss with respect to the logarithm of its scale. A group of
 * b bits, whose outermost levels are 2^(b-1) times its scale from the middle, has a rate of rate /
 * 2^(b-1), so that about `rate` of a scale is what a level moves by at most. Local. O(groups). */
void sb_scales_step(sb_scales *scales, const float *gradients, double rate);

/* What training has made of this rank's groups so far, SB_SCALES_STATE_BYTES each, in their order:
 * for saving (quant/tune_checkpoint.h). After they have been replaced, sb_scales_restore takes them
 * over, after so many steps, into the packed rows, which no rank holds acquired. Local. */
enum { SB_SCALES_STATE_BYTES = 16 };
uint8_t *sb_scales_state(sb_scales *scales);
void sb_scales_restore(sb_scales *scales, size_t steps);

#endif
