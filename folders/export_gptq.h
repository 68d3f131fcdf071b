/* The format of GPTQModel. In place of NAME.weight, [N, K], a matrix of b bits in G groups a row
 * has
 *
 *   NAME.qweight  I32 [K b / 32, N]   codes of a row (folders/int32_words.h), down a column
 *   NAME.qzeros   I32 [G, N b / 32]   zero points of a column
 *   NAME.scales   F16 [G, N]
 *   NAME.g_idx    I32 [K]             the group of each channel
 *
 * A weight is (code - zero) * scale. config.json has the most frequent width for all matrices, and
 * the others' in `dynamic`, by regular expressions that match the module, and where the modules
 * that vLLM fuses have one width, the fused one. Its format is
 *
 *   gptq     dense, zero points less 1: signed grids of 2, 3, 4 and 8 bits, whose zero is 2^(b - 1)
 *   gptq_v2  dense: asymmetric grids of 2, 3, 4 and 8 bits
 *   gptq_p   in planes: either grid, where there are matrices of 5, 6 or 7 bits
 *
 * Read in GPTQModel 7.7. An LM head may be quantized, an embedding may not. */
#ifndef SB_FOLDERS_EXPORT_GPTQ_H
#define SB_FOLDERS_EXPORT_GPTQ_H

#include "folders/transcode.h"

/* Takes 2 to 8 bits, asymmetric grids or signed ones, groups of 16 to 1024 and sides that are
 * multiples of 32. */
extern const sb_code_format sb_format_gptq;

#endif
