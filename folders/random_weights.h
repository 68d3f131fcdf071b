/* Weights for a model that was never trained, with the statistics of those that were: for
 * benchmarks and tests of any size.
 *
 * Every number is a function of the seed, the tensor's name and its index alone, by a counter-based
 * generator and arithmetic that rounds the same everywhere: the same bytes for any number of ranks
 * and threads, in any order, and a layer is the same whatever number of layers there are.
 *
 *   matrices     sigma x row factor x column factor x n. n: a bell of four uniform numbers, of
 * which one in ten is stretched 1.5, 2.5 or 4 times (kurtosis 5; the largest of 10^6 weights is
 * some 10 standard deviations). sigma: what the role has in trained models, 0.6 to 1 over the
 * square root of the inputs, up to 15% more or less by layer. Row and column factors lie within 0.8
 * .. 1.2. outliers     one channel in 512 of the residual stream, at least one, is 4 to 8 times as
 * large as the others: as columns of the embedding and as rows of o and down, in all layers norms
 * 1 + 0.1 n, half of it for the outliers; a sixteenth in the final norm, so that they do not decide
 * the logits where the head is the embedding
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

/* The recipe of a tensor: O(rows + cols) memory. */
sb_status sb_random_tensor_create(const sb_arch *arch, size_t tensor, uint64_t seed,
                                  sb_random_tensor *out);
void sb_random_tensor_free(sb_random_tensor *tensor);
/* out[0 .. count) = elements [first, first + count), row-major. One thread. */
void sb_random_tensor_fill(const sb_random_tensor *tensor, uint64_t first, size_t count,
                           float *out);

/* Token ids below `vocab` for a seed, the same way: small ids are frequent, like words (every
 * octave of ids is equally likely). Number `first` and those that follow. */
void sb_random_tokens(uint64_t seed, size_t vocab, uint64_t first, size_t count, uint32_t *out);

#endif
