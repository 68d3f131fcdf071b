/* Effective bits a weight when every block has the same bitwidth. Local, pure. */
#ifndef SB_CLI_UNIFORM_BITS_H
#define SB_CLI_UNIFORM_BITS_H

#include "kernels/backend.h"
#include "model/arch.h"

/* All that a reader needs of the linear layers, over their weights: `bits` for each code; for each group (a
 * row of a block) 16 bits of scale, and, asymmetric, a zero point of `bits` bits (for 1 bit: 16 bits of
 * base); for each block 8 bits of bit map. Ragged edges counted as they are; padding to whole bytes is not.
 */
double sb_uniform_effective_bits(const sb_arch *arch, size_t block_rows, size_t block_cols, unsigned bits,
                                 sb_symmetry symmetry);

#endif
