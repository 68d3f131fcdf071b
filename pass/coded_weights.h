/* The matrices of the layer at hand as emulated GEMMs read them: coded once per loaded layer, for
 * fprop and for dgrad. Most precisions have one coding for both; mx formats, whose blocks lie along
 * the summed dimension, and precisions that differ have two. All functions are local and queue on a
 * stream. */
#ifndef SB_PASS_CODED_WEIGHTS_H
#define SB_PASS_CODED_WEIGHTS_H

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/precision_map.h"
#include "pass/emulation.h"

typedef struct sb_coded_weights sb_coded_weights;

/* *out = room for the coded matrices of one layer at a time, and a copy of map and options. Model
 * and backend outlive it. SB_ERR_MEMORY. Release with sb_coded_weights_free. */
sb_status sb_coded_weights_create(const sb_model *model, sb_backend *backend,
                                  const sb_precision_map *map, const sb_lowprec_options *options,
                                  sb_coded_weights **out);
void sb_coded_weights_free(sb_coded_weights **weights);

/* Codes matrix number `matrix` of a layer from its operands w_dev [rows, cols]. *out is valid until
 * the next call for this number; NULL where all GEMMs of the matrix are high, and nothing is done.
 */
sb_status sb_coded_weights_load(sb_coded_weights *weights, sb_stream stream, size_t layer,
                                size_t matrix, const void *w_dev, const sb_emulation **out);

#endif
