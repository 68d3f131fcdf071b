/* The affine format of MLX, which mlx-lm loads. In place of NAME.weight, [N, K], a matrix of b bits
 * in G groups a row has
 *
 *   NAME.weight  U32 [N, K b / 32]  codes of a row, dense (folders/int32_words.h)
 *   NAME.scales  [N, G], in the type of the folder's other tensors
 *   NAME.biases  [N, G], likewise
 *
 * A weight is code * scale + bias. A bias is -zero * scale, rounded to its type: exact on signed
 * grids, whose zero is a power of two; with zero points to half a unit in its last place, which in
 * f16 is at most 2^(b - 12) of a step of the codes. MLX has no other place for a zero point.
 * config.json names width and group of each module. Embedding and LM head may be of this form too.
 * Read in mlx 0.32 and mlx-lm 0.32. */
#ifndef SB_FOLDERS_EXPORT_MLX_H
#define SB_FOLDERS_EXPORT_MLX_H

#include "folders/transcode.h"

/* Takes 2, 3, 4, 5, 6 and 8 bits, asymmetric grids or signed ones, groups of 32, 64 or 128. */
extern const sb_code_format sb_format_mlx;

/* What to write where --dtype is open: sb_transcode_dtype, but F16 where biases would lose too much
 * in BF16. Local. */
sb_dtype sb_mlx_dtype(const sb_model *model);

#endif
