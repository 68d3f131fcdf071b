/* A model in memory whose weights come from no file: every rank fills the rows it owns. */
#ifndef SB_FOLDERS_MADE_MODEL_H
#define SB_FOLDERS_MADE_MODEL_H

#include "base/status.h"
#include "model/model.h"

/* *out = a model of `config`, coding SB_CODING_SOURCE, all tensors of type `dtype`, all bits 0;
 * `fill` writes the units that this rank owns, in store order. Collective; all ranks fail together.
 */
sb_status sb_made_model(const sb_world *world, const sb_config *config, sb_dtype dtype,
                        sb_blocking blocking, sb_unit_visitor fill, void *context, sb_model **out);

#endif
