/* Writes models as ordinary Hugging Face folders: an output folder dequantized, its rows and
 * columns back in the source's order, for tools that do not know mixed bits; or a source model in
 * another order. */
#ifndef SB_FOLDERS_EXPORT_H
#define SB_FOLDERS_EXPORT_H

#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "base/ticker.h"
#include "folders/hf_folder.h"
#include "model/model.h"

/* Writes folder `out`, which was begun with the side files of the output folder `source`, from
 * `model` (SB_CODING_CODES), which was loaded from there, and commits it. All tensors are written
 * in `dtype`, a weight type, in safetensors files of at most `file_bytes` (a larger tensor has a
 * file of its own); several files have an index. config.json names `dtype`. Every rank decodes and
 * writes its own rows; `ticker` is told the share of them. SB_ERR_NUMERIC names the tensor and the
 * value that is beyond the range of `dtype`. Collective; all ranks fail together. Memory beside the
 * model: one block row in float32. */
sb_status sb_export_dequantized(sb_model *model, const char *source, sb_destination *out,
                                sb_dtype dtype, uint64_t file_bytes, sb_ticker ticker,
                                sb_hf_folder_stats *stats);

/* The same for a model of coding SB_CODING_SOURCE, not indexed: all tensors as the store has them,
 * in their own types. `out` was begun with the side files of the folder that it was loaded from. */
sb_status sb_export_source(sb_model *model, sb_destination *out, uint64_t file_bytes,
                           sb_ticker ticker, sb_hf_folder_stats *stats);

/* The same with all tensors in `dtype`, a weight type, which config.json then names: for models
 * that were trained. SB_ERR_NUMERIC as for sb_export_dequantized. */
sb_status sb_export_as(sb_model *model, sb_destination *out, sb_dtype dtype, uint64_t file_bytes,
                       sb_ticker ticker, sb_hf_folder_stats *stats);

/* Bytes of the tensors that sb_export_source writes: for asking early whether they have room. Pure.
 */
uint64_t sb_export_source_bytes(const sb_model *model);

#endif
