/* Random weights with the statistics of trained ones, for benchmarks and tests of any size.
 *
 * Every number is a function of the seed, the tensor's name and its index alone, by a counter-based
 * generator and arithmetic that rounds the same everywhere. So the bytes are the same for any
 * number of ranks and threads, in any order, and a layer does not depend on how many layers the
 * model has.
 *
 * - Matrices: `sigma x row factor x column factor x n`. n is the sum of four uniform numbers,
 *   one in ten stretched by 1.5, 2.5 or 4 (kurtosis 5; the largest of 10^6 is some 10 standard
 *   deviations). sigma is that of the role in trained models, 0.6 to 1 over the square root of
 *   the inputs, with up to 15% more or less per layer. Row and column factors lie within 0.8 ..
 *   1.2.
 * - Outliers: one channel in 512 of the residual stream, at least one, is 4 to 8 times as large
 *   as the others, in all layers: as a column of the embedding and as a row of o and down.
 * - Norms: `1 + 0.1 n`, half of it for outliers, and a sixteenth in the final norm, so that
 *   outliers do not decide the logits of a tied head.
 *
 * All functions are local. */
#ifndef SB_FOLDERS_RANDOM_WEIGHTS_H
#define SB_FOLDERS_RANDOM_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "model/arch.h"

typedef struct sb_random_tensor {
  uint64_t key;
  size_t cols;
  bool is_norm;
  float sigma;
  float *col; /* [cols] */
  float *row; /* [rows] */
} sb_random_tensor;

/* *out = the factors that the weights of tensor number `tensor` are made from; release it in any
 * case. SB_ERR_MEMORY. O(rows + cols) time and memory. */
sb_status sb_random_tensor_create(const sb_arch *arch, size_t tensor, uint64_t seed,
                                  sb_random_tensor *out);
void sb_random_tensor_free(sb_random_tensor *tensor);
/* out[0 .. count) = the tensor's elements [first, first + count), row-major. One thread; several
 * may call at once. */
void sb_random_tensor_fill(const sb_random_tensor *tensor, uint64_t first, size_t count,
                           float *out);

/* out[0 .. count) = random token ids number first, first + 1, ... of a seed, all below `vocab`.
 * Small ids are frequent, as words are: every octave of ids is equally likely. */
void sb_random_tokens(uint64_t seed, size_t vocab, uint64_t first, size_t count, uint32_t *out);

#endif
