/* A loaded output folder as an ordinary Hugging Face folder again, its matrices dequantized and
 * their rows and columns in place: for tools that know nothing of mixed bits. Or a model with its
 * channels in another order, as it is. */
#ifndef SB_FOLDERS_EXPORT_H
#define SB_FOLDERS_EXPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "base/ticker.h"
#include "folders/hf_folder.h"
#include "model/model.h"

/* Writes OUT from `model` (coding SB_CODING_CODES) and the output folder `source` it was loaded
 * from: all tensors in `dtype` (a weight type), in safetensors files of at most `file_bytes` (a
 * larger tensor has its own), with the index that Hugging Face's loaders expect where there are
 * several; config.json says `dtype`; the tokenizer's files are copied. Every rank decodes and
 * writes its own rows. OUT appears when it is complete, and must not exist unless `overwrite`.
 * `ticker` is told the share of this rank's rows that is done. Collective. Memory
 * beside the model: one block row in float32. */
sb_status sb_model_export(sb_model *model, const char *source, const char *out, sb_dtype dtype,
                          uint64_t file_bytes, bool overwrite, sb_ticker ticker,
                          sb_hf_folder_stats *stats);

/* The same for a model of coding SB_CODING_SOURCE, not indexed, that was read from the Hugging Face
 * folder `source`: all tensors as the store has them, in their own types, beside `source`'s
 * configuration. */
sb_status sb_model_export_source(sb_model *model, const char *source, const char *out,
                                 uint64_t file_bytes, bool overwrite, sb_ticker ticker,
                                 sb_hf_folder_stats *stats);

#endif
