/* Numbers that tell whether two runs work on the same weights and tokens. Collective; the same for
 * any number of ranks. O(bytes / ranks). */
#ifndef SB_PASS_FINGERPRINT_H
#define SB_PASS_FINGERPRINT_H

#include <stdint.h>

#include "base/status.h"
#include "model/model.h"
#include "pass/sequences.h"

/* Of all units as the store holds them: of the source weights, reordered where they are, or of
 * packed rows. */
sb_status sb_model_fingerprint(sb_model *model, uint64_t *out);
/* Of the tokens of all ranks, in the order of the sequences. */
sb_status sb_sequences_fingerprint(const sb_world *world, const sb_sequences *sequences,
                                   uint64_t *out);

#endif
