/* From a model and a bit map to packed block rows. */
#ifndef SB_QUANT_PACKED_MODEL_H
#define SB_QUANT_PACKED_MODEL_H

#include "base/status.h"
#include "model/model.h"

/* A model of coding SB_CODING_PACKED, laid out for the bits of `source` (SB_CODING_SOURCE, all bits
 * in 1..8), which it has too; its units are left to be filled. On failure *out is to be released by
 * the caller. Collective. */
sb_status sb_packed_model_create(const sb_model *source, sb_model **out);
/* The same with everything in it: matrices rounded to nearest, on the model's grids, all else as it
 * is. Each rank packs what it will own. Collective. */
sb_status sb_packed_model_nearest(sb_model *source, sb_model **out);

/* A unit of the packed store that this rank owns: `from` is its source rows in the image of the
 * source's group. */
typedef sb_status (*sb_packed_model_visitor)(void *context, const sb_place *place, size_t unit,
                                             const char *from, uint8_t *to);
/* Calls back for every unit of the packed group that this rank owns, in order. Local. */
sb_status sb_packed_model_visit(const sb_model *source, sb_model *packed, size_t group,
                                const void *image, sb_packed_model_visitor visit, void *context);
/* What is not quantized, of the packed group's units that this rank owns, as it is. Local. */
sb_status sb_packed_model_copy(const sb_model *source, sb_model *packed, size_t group,
                               const void *image);

#endif
