/* The inside of quant/moments.h: what its two ways to hold the moments share, and the functions
 * that differ. */
#ifndef SB_QUANT_MOMENTS_IMPL_H
#define SB_QUANT_MOMENTS_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "quant/device_sums.h"
#include "quant/moments.h"
#include "mpi/blockcyclic.h"

typedef struct sb_moments_way {
  size_t (*bytes)(const sb_moments_setup *, const sb_sizes *);
  size_t (*factor_bytes)(const sb_moments_setup *, const sb_sizes *, int threads);
  sb_status (*allocate)(sb_moments *); /* local, as all are but for those said to be collective */
  void (*release)(sb_moments *);
  sb_status (*begin)(sb_moments *, sb_stream); /* sums are 0 */
  sb_status (*take)(sb_moments *, sb_stream, size_t input, const void *x);
  sb_status (*add)(sb_moments *, sb_stream, size_t s);                         /* collective */
  sb_status (*largest)(sb_moments *, sb_stream, size_t input, double *square); /* of the diagonal */
  sb_status (*factorise)(sb_moments *, sb_stream, sb_factor_repair *repairs);  /* collective */
  sb_status (*panel)(sb_moments *, size_t input, size_t begin, size_t *end, const float **,
                     size_t *ld);
  sb_status (*rows)(sb_moments *, size_t input, size_t begin, size_t *end, const float **);
} sb_moments_way;

extern const sb_moments_way sb_moments_replicated, sb_moments_block_cyclic;

struct sb_moments {
  sb_moments_setup setup;
  const sb_world *world;
  const sb_moments_way *way;
  size_t layer, width[SB_INPUTS];
  double quantum[SB_INPUTS]; /* a power of 2 */

  /* replicated: all on the device; distributed: all on the host, and the factor in the sums' memory
   */
  int64_t *sums[SB_INPUTS]; /* multiples of quantum; of `count` elements */
  size_t count[SB_INPUTS];
  float *factor[SB_INPUTS];
  float *whole[SB_INPUTS]; /* the moments as they were factorised, laid out as they are; where they
                              are kept */

  /* replicated */
  float *square[SB_INPUTS]; /* device, [n, n]: of the sequence at hand */
  sb_device_sums over_ranks;

  /* distributed */
  sb_cyclic layout[SB_INPUTS];
  size_t panel;          /* columns of a panel of sums */
  void *kept[SB_INPUTS]; /* device, [keep, T, n] operands: inputs of the sequences at hand */
  size_t keep, held;
  size_t rows;           /* of a panel of a factor: whole blocks */
  float *product, *host; /* device [panel, widest], host [larger of panel and rows, widest] */
  int64_t *part;         /* host [panel, widest]: this rank's part of a panel of sums */
  int64_t *part_there;   /* the same on the device; `part` where that is the host */
};

/* Says where a factorisation failed, and returns `status`. */
sb_status sb_moments_blame(const sb_moments *m, size_t input, sb_status status,
                           const char *message);
/* The same of sums that cannot be made: SB_ERR_NUMERIC gets words for people, all else stays. */
sb_status sb_moments_blame_sum(const sb_moments *m, size_t input, sb_status status);

#endif
