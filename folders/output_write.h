/* Writing a quantized model as an output folder: manifest.json and one
 * shard per rank (docs/format.md). */
#ifndef SB_FOLDERS_OUTPUT_WRITE_H
#define SB_FOLDERS_OUTPUT_WRITE_H

#include <jansson.h>
#include <stdint.h>

#include "base/status.h"
#include "folders/destination.h"
#include "model/model.h"

typedef struct sb_output_stats {
  uint64_t quantized_weights; /* in the matrices of the decoder layers */
  uint64_t quantized_bits;    /* codes, grids, bit maps and orders of these, before zstd */
  uint64_t code_bits;         /* codes alone */
  uint64_t other_bytes;       /* embedding, norms, LM head: source precision, before zstd */
  uint64_t stored_bytes;      /* of all shard files */
  uint64_t frames;
  uint64_t content_hash; /* of all frames' contents: the same for any number of ranks */
  double effective_bits; /* quantized_bits / quantized_weights */
  double code_bits_mean; /* code_bits / quantized_weights */
} sb_output_stats;

/* *out = the same figures without writing, for the model's present bits, all 1..8; stored_bytes,
 * frames and content_hash are 0. Local, equal on all ranks. O(blocks). */
void sb_output_figures(const sb_model *model, sb_output_stats *out);

/* Bytes of embedding, norms and head in the source's precision: other_bytes, whatever the bits. */
uint64_t sb_output_other_bytes(const sb_model *model);

/* Writes `model` (SB_CODING_CODES) as the output folder `out`, which was begun with the side files
 * of the model, config.json among them, and commits it. `level` is zstd's. The frames' bytes do not
 * depend on the number of ranks. SB_ERR_IO names the file, or says that there is too little space.
 * Collective; all ranks fail together. Memory: 64 MiB of frames per rank. */
sb_status sb_output_write(sb_model *model, sb_destination *out, int level, sb_output_stats *stats);

#endif
