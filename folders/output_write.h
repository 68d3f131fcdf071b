/* A quantized model as an output folder: manifest.json and one shard a rank (docs/format.md),
 * written from the parameter store. */
#ifndef SB_FOLDERS_OUTPUT_WRITE_H
#define SB_FOLDERS_OUTPUT_WRITE_H

#include <jansson.h>
#include <stdint.h>

#include "base/status.h"
#include "model/model.h"

typedef struct sb_output_stats {
  uint64_t quantized_weights; /* in the matrices of the decoder layers */
  uint64_t quantized_bits;    /* of everything a reader needs to rebuild them, before zstd */
  uint64_t code_bits;         /* of codes alone */
  uint64_t other_bytes;       /* embedding, norms, LM head: source precision, before zstd */
  uint64_t stored_bytes;      /* sizes of all shard files */
  uint64_t frames;
  uint64_t content_hash; /* of all frames' contents: the same for any number of ranks */
  double effective_bits; /* quantized_bits / quantized_weights */
  double code_bits_mean; /* code_bits / quantized_weights */
} sb_output_stats;

/* The same figures without writing, from the model's present bits (stored_bytes, frames and
 * content_hash stay 0). All bits are 1..8. Local: the bit map is replicated. */
void sb_output_figures(const sb_model *model, sb_output_stats *out);

/* Writes OUT from `model` (SB_CODING_CODES): into a neighbouring folder first, which takes OUT's
 * name when all is on the disk; config.json and the tokenizer's files are copied from `source`.
 * `level` is zstd's. OUT must not exist unless `overwrite`. The frames' bytes do not depend on the
 * number of ranks. Collective. */
sb_status sb_output_write(sb_model *model, const char *source, const char *out, bool overwrite,
                          int level, sb_output_stats *stats);

#endif
