/* The scales of a coded model as trainable numbers (quant/scale_numbers.h): those of this rank, in
 * the units that it owns.
 *
 * The logarithm of each is trained, by Adam (Kingma and Ba, arXiv 1412.6980): numbers keep their
 * sign, and 0 stays 0. */
#ifndef SB_QUANT_SCALES_H
#define SB_QUANT_SCALES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "model/model.h"
#include "model/sizes.h"
#include "quant/scale_numbers.h"

typedef struct sb_scales sb_scales;

/* *out = the scales of `coded` (SB_CODING_CODES), where training begins; `coded` is borrowed.
 * `wanted`: what is trained beside them; tables without codes are not. Collective. Memory: 16 bytes
 * per number of this rank, and O(ranks + groups of the store). */
sb_status sb_scales_create(sb_model *coded, sb_trained wanted, sb_scales **out);
/* Bytes that sb_scales_create takes, but for 8 per chunk of a table. Pure. */
size_t sb_scales_bytes(const sb_sizes *sizes, sb_trained);
void sb_scales_free(sb_scales **scales);

/* Parts of the model (quant/scale_numbers.h). Local. */
size_t sb_scales_parts(const sb_scales *scales);
sb_trained sb_scales_trained(const sb_scales *scales);
/* starts[ranks + 1]: rank r owns the numbers [starts[r], starts[r + 1]) of the part. Local. */
void sb_scales_owners(const sb_scales *scales, size_t part, size_t *starts);
/* Number of this rank's numbers in the parts before `part`, which may be their number. Local. */
size_t sb_scales_before(const sb_scales *scales, size_t part);

/* Back to the scales before training, in state and units; no steps are done. Local. O(numbers). */
void sb_scales_reset(sb_scales *scales);

/* One step of Adam, written into the units, whose groups no rank holds acquired. gradients[i] is
 * the gradient of the loss with respect to the logarithm of this rank's number i, part after part;
 * of a norm's weight, with respect to the weight. The rate of a b-bit group is `rate / 2^(b-1)`,
 * so its outermost level moves by at most `rate` scales; factors of rows, scales of a trellis'
 * blocks and norms have shares of `rate` of their own
 * (docs/measurements/trellis-training.md). Local. O(numbers). */
void sb_scales_step(sb_scales *scales, const float *gradients, double rate);

/* The share of `rate` that a number moves at. Pure. */
double sb_scales_pace(const sb_scale_number *number);

/* The training state of this rank's numbers, SB_SCALES_STATE_BYTES each, in their order: to be
 * saved (quant/tune_checkpoint.h), or overwritten by a saved one. sb_scales_restore then continues
 * after `steps` steps. It writes the scales into the units, whose groups no rank holds acquired.
 * Local. */
enum { SB_SCALES_STATE_BYTES = 16 };
uint8_t *sb_scales_state(sb_scales *scales);
void sb_scales_restore(sb_scales *scales, size_t steps);

#endif
