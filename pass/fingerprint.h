/* Hashes of weights and tokens, by which a run knows that a checkpoint belongs to its own. They are
 * the same for any number of ranks. Collective; O(bytes / ranks). */
#ifndef SB_PASS_FINGERPRINT_H
#define SB_PASS_FINGERPRINT_H

#include <stdint.h>

#include "base/status.h"
#include "model/model.h"
#include "pass/sequences.h"

/* *out = the hash of all units in the store: source rows, in the model's order, or coded block
 * rows. The bit map does not count. */
sb_status sb_model_fingerprint(sb_model *model, uint64_t *out);
/* *out = the hash of the tokens of all ranks, in the order of the sequences. */
sb_status sb_sequences_fingerprint(const sb_world *world, const sb_sequences *sequences,
                                   uint64_t *out);

#endif
