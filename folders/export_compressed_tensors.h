/* The format `pack-quantized` of compressed-tensors, which vLLM and SGLang load. In place of
 * NAME.weight, [N, K], a matrix of b bits in G groups a row has
 *
 *   NAME.weight_packed      I32 [N, ceil(K b / 32)]  codes of a row, dense (folders/int32_words.h)
 *   NAME.weight_scale       [N, G], in the type of the folder's other tensors
 *   NAME.weight_zero_point  I32 [ceil(N b / 32), G]  zero points of a column, dense; with them only
 *   NAME.weight_shape       I64 [2]                  N, K
 *
 * A weight is (code - zero) * scale; without zero points zero is 2^(b - 1). config.json has a group
 * of targets for every width. Read in compressed-tensors 0.18 to 0.20.1; earlier versions pad 3, 5,
 * 6 and 7 bits. */
#ifndef SB_FOLDERS_EXPORT_COMPRESSED_TENSORS_H
#define SB_FOLDERS_EXPORT_COMPRESSED_TENSORS_H

#include "folders/transcode.h"

/* Takes 2 to 8 bits, asymmetric grids or signed ones. */
extern const sb_code_format sb_format_compressed_tensors;

#endif
