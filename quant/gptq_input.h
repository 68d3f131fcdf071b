/* Compensated rounding of the matrices of a layer that share an input, or of a chunk of a table of
 * the vocabulary. This rank's block rows of
 * them go through the columns together, because a distributed factor passes by only once:
 *
 *   round    column by column; later columns make up for the error of each (round_columns)
 *   refine   passes of coordinate descent on the codes, which lower the error of the outputs
 *   encode   the chosen grids and codes become coded block rows (quant/encode.h) */
#ifndef SB_QUANT_GPTQ_INPUT_H
#define SB_QUANT_GPTQ_INPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "pass/device_layer.h"
#include "quant/moments.h"

typedef struct sb_gptq_input {
  const sb_model *source;
  sb_model *coded;
  sb_backend *backend;
  sb_stream stream;
  sb_moments *moments; /* factorised, of the layer or table at hand */
  const sb_device_layer
      *layer;  /* the source's layer at hand: factors of its columns; NULL: a table */
  bool fitted; /* grids are fitted to the weights as they are when their block begins */
  int refine;  /* passes; 0: none, and no memory for them. Trellis codes have none */
  /* of this rank, added to: panels of factors, rounding, refining */
  double factor_seconds, round_seconds, refine_seconds;
} sb_gptq_input;

/* Rounds the matrices that multiply input number `input` (model/arch.h) of a layer into the
 * coded store. `group` is the layer's group in the store, `image` the source's image of it. Of a
 * table, `group` is one of its chunks and `input` is 0.
 * Collective; all ranks fail together. Device memory: 5 bytes per weight of this rank's rows,
 * 9 with refining. */
sb_status sb_gptq_input_round(sb_gptq_input *work, size_t group, const void *image, size_t input);

#endif
