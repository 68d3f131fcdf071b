/* Checks of a model's invariants: for tests, and at the borders of phases where checks are compiled
 * in (base/check.h). */
#ifndef SB_MODEL_MODEL_CHECK_H
#define SB_MODEL_MODEL_CHECK_H

#include "base/check.h"
#include "model/model.h"

/* Widths of `count` blocks: 1 to 8, and where `may_be_source` also 0. Local. O(count). */
bool sb_bits_are_valid(const uint8_t *bits, size_t count, bool may_be_source, sb_flaw *flaw);

/* True if the block rows that this rank owns of a group of the store, in a model of coding
 * SB_CODING_CODES, can be decoded and have the widths of the model's bit map. Local. O(blocks). */
bool sb_model_codes_are_valid(const sb_model *model, size_t group, sb_flaw *flaw);

/* True for a laid out model that holds its invariants. `flaw` says which one does not hold:
 *
 * - places follow one another, cover the rows of every tensor once, and are the units of the store;
 * - blocks are numbered without gaps;
 * - the bit map is valid, and importance is finite and not negative; factors
 *   of columns are finite and not 0;
 * - with codes, the bit maps in this rank's block rows agree with the model's.
 *
 * Local. O(tensors + units + blocks). */
bool sb_model_is_valid(const sb_model *model, sb_flaw *flaw);

/* At the border of a phase, in builds with SB_CHECKS: aborts unless the model is valid on this rank
 * and has the same bit map and importance on all ranks. Nothing in other builds. Collective. */
void sb_model_check(const sb_model *model);

#endif
