/* Writing a quantized model as an output folder: manifest.json and one
 * shard per rank (docs/format.md). */
#ifndef SB_FOLDERS_OUTPUT_WRITE_H
#define SB_FOLDERS_OUTPUT_WRITE_H

#include <jansson.h>
#include <stdint.h>

#include "base/status.h"
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

/* Writes folder `out` from `model` (SB_CODING_CODES). config.json and the other companions
 * (folders/companions.h) are copied from folder `source`. A neighbouring folder is written
 * first and renamed when all is on the disk, so `out` appears complete or not at all; it must
 * not exist unless `overwrite`. `level` is zstd's. The frames' bytes do not depend on the
 * number of ranks. SB_ERR_IO names the file. Collective; all ranks fail together. Memory: 64
 * MiB of frames per rank. */
sb_status sb_output_write(sb_model *model, const char *source, const char *out, bool overwrite,
                          int level, sb_output_stats *stats);

#endif
