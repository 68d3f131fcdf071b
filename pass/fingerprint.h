/* Numbers by which two runs know that they work on the same weights and tokens: hashes that are the
 * same for any number of ranks. Collective; O(bytes / ranks). */
#ifndef SB_PASS_FINGERPRINT_H
#define SB_PASS_FINGERPRINT_H

#include <stdint.h>

#include "base/status.h"
#include "model/model.h"
#include "pass/sequences.h"

/* Of all units as the store has them: source rows, in the model's order, or coded block rows. Bits
 * are not part of it. */
sb_status sb_model_fingerprint(sb_model *model, uint64_t *out);
/* Of the tokens of all ranks, in the order of the sequences. */
sb_status sb_sequences_fingerprint(const sb_world *world, const sb_sequences *sequences,
                                   uint64_t *out);

#endif
