/* Writing a quantized model as an output folder: manifest.json and one
 * shard per rank (docs/format.md). */
#ifndef SB_FOLDERS_OUTPUT_WRITE_H
#define SB_FOLDERS_OUTPUT_WRITE_H

#include <jansson.h>
#include <stdint.h>

#include "base/status.h"
#include "folders/destination.h"
#include "model/model.h"

/* A table of the vocabulary (sb_model.tables). */
typedef struct sb_output_table {
  uint64_t weights, bytes; /* stored before zstd: coded block rows, or source precision */
  double bits;             /* 8 bytes / weights */
} sb_output_table;

typedef struct sb_output_stats {
  uint64_t quantized_weights;        /* in the matrices of the decoder layers */
  uint64_t quantized_bits;           /* codes, grids, bit maps and orders of these, before zstd */
  uint64_t code_bits;                /* codes alone */
  uint64_t other_bytes;              /* norms, and tables in source precision, before zstd */
  sb_output_table tables[SB_TABLES]; /* as the model's; zero for one that it does not have */
  uint64_t bytes;                    /* of the whole file (model/file_size.h) */
  uint64_t weights;                  /* all of them; a tied table counts once */
  uint64_t stored_bytes;             /* of all shard files */
  uint64_t frames;
  uint64_t content_hash; /* of all frames' contents: the same for any number of ranks */
  double effective_bits; /* quantized_bits / quantized_weights */
  double code_bits_mean; /* code_bits / quantized_weights */
  double file_bits;      /* 8 bytes / weights */
} sb_output_stats;

/* *out = the same figures without writing, for the present bits of the layers and of coded tables,
 * all 1..8; stored_bytes, frames and content_hash are 0. Local, equal on all ranks. O(blocks). */
void sb_output_figures(const sb_model *model, sb_output_stats *out);

/* Bytes of norms, and of tables that are not coded, in the source's precision: other_bytes. */
uint64_t sb_output_other_bytes(const sb_model *model);

/* Writes `model` (SB_CODING_CODES) as the output folder `out`, which was begun with the side files
 * of the model, config.json among them, and commits it. `level` is zstd's. The frames' bytes do not
 * depend on the number of ranks. SB_ERR_IO names the file, or says that there is too little space.
 * Collective; all ranks fail together. Memory: 64 MiB of frames per rank. */
sb_status sb_output_write(sb_model *model, sb_destination *out, int level, sb_output_stats *stats);

#endif
