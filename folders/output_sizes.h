/* What an output folder holds, tensor by tensor: sizes from the indexes of its shards, widths from
 * the bit maps at the beginning of its frames. No frame is decoded beyond that, so a folder of any
 * size is measured at once; `sb_output_verify` is for its content. */
#ifndef SB_FOLDERS_OUTPUT_SIZES_H
#define SB_FOLDERS_OUTPUT_SIZES_H

#include <stdint.h>

#include "base/status.h"
#include "io/shardset.h"
#include "kernels/shared/grid_types.h"

typedef struct sb_output_tensor {
  uint64_t weights;
  uint64_t bytes;             /* before zstd: what model/file_size.h counts */
  uint64_t blocks[SB_WIDTHS]; /* of a quantized one: its blocks of each width */
} sb_output_tensor;

/* out [tensors of the manifest] = each tensor; of an order `weights` is 0. SB_ERR_FORMAT names the
 * shard and the frame of a bit map that is none. Local. O(frames) short reads. */
sb_status sb_output_measure(const sb_shardset *shards, sb_output_tensor *out);

#endif
