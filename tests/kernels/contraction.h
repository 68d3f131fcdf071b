/* What host and device share (kernels/shared/), computed on many inputs: one source, compiled once
 * with contraction of products and sums, once without. */
#ifndef SB_TESTS_KERNELS_CONTRACTION_H
#define SB_TESTS_KERNELS_CONTRACTION_H

#include <stddef.h>
#include <stdint.h>

enum { CONTRACTION_NUMBERS = 1 << 20 };

/* Fill out[0 .. CONTRACTION_NUMBERS) with the bits of results, in one order. */
void contraction_fused(uint32_t *out);
void contraction_separate(uint32_t *out);

#endif
