/* Writes models as ordinary Hugging Face folders: an output folder dequantized, its rows and
 * columns back in the source's order, for tools that do not know mixed bits; or a source model in
 * another order. */
#ifndef SB_FOLDERS_EXPORT_H
#define SB_FOLDERS_EXPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "base/ticker.h"
#include "folders/hf_folder.h"
#include "model/model.h"

/* Writes folder `out` from `model` (SB_CODING_CODES), which was loaded from the output folder
 * `source`. All tensors are written in `dtype`, a weight type, in safetensors files of at most
 * `file_bytes` (a larger tensor has a file of its own); several files have an index. config.json
 * names `dtype`; the tokenizer's files are copied. Every rank decodes and writes its own rows;
 * `ticker` is told the share of them. `out` appears complete or not at all, and must not exist
 * unless `overwrite`. Collective; all ranks fail together. Memory beside the model: one block row
 * in float32. */
sb_status sb_export_dequantized(sb_model *model, const char *source, const char *out,
                                sb_dtype dtype, uint64_t file_bytes, bool overwrite,
                                sb_ticker ticker, sb_hf_folder_stats *stats);

/* The same for a model of coding SB_CODING_SOURCE, not indexed, that was loaded from
 * the Hugging Face folder `source`: all tensors as the store has them, in their own
 * types, with `source`'s configuration. */
sb_status sb_export_source(sb_model *model, const char *source, const char *out,
                           uint64_t file_bytes, bool overwrite, sb_ticker ticker,
                           sb_hf_folder_stats *stats);

#endif
