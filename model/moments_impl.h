/* The inside of model/moments.h: what its two ways to hold the moments share, and the functions that differ. */
#ifndef SB_MODEL_MOMENTS_IMPL_H
#define SB_MODEL_MOMENTS_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "model/moments.h"
#include "mpi/blockcyclic.h"

typedef struct sb_moments_way {
  sb_status (*allocate)(sb_moments *);                                         /* local */
  sb_status (*take)(sb_moments *, sb_stream, size_t input, const void *x);     /* local */
  sb_status (*add)(sb_moments *, sb_stream, size_t s);                         /* collective */
  sb_status (*largest)(sb_moments *, sb_stream, size_t input, double *square); /* of the diagonal; local */
  sb_status (*factorise)(sb_moments *, sb_gptq_repair *repairs);               /* collective */
  sb_status (*panel)(sb_moments *, size_t input, size_t begin, size_t *end, const float **, size_t *ld);
  sb_status (*rows)(sb_moments *, size_t input, size_t begin, size_t *end, const float **);
  size_t (*diagonal)(const sb_moments *, size_t input, size_t i); /* place of element (i, i), or SIZE_MAX */
} sb_moments_way;

extern const sb_moments_way sb_moments_replicated, sb_moments_block_cyclic;

struct sb_moments {
  sb_moments_setup setup;
  const sb_world *world;
  const sb_moments_way *way;
  size_t layer, width[SB_INPUTS];
  double quantum[SB_INPUTS]; /* a power of 2 */
  int64_t *sums[SB_INPUTS];  /* multiples of quantum; of `count` elements */
  size_t count[SB_INPUTS];
  float *factor[SB_INPUTS];
  float
      *whole[SB_INPUTS]; /* the moments as they were factorised, laid out as they are; where they are kept */

  /* replicated: [n, n] each, of the sequence at hand */
  float *device[SB_INPUTS];

  /* distributed */
  sb_cyclic layout[SB_INPUTS];
  size_t panel;          /* columns of a panel of sums */
  void *kept[SB_INPUTS]; /* device, [keep, T, n] of type act: inputs of the sequences at hand */
  size_t keep, held;
  size_t rows;           /* of a panel of a factor: whole blocks */
  float *product, *host; /* device [panel, widest], host [larger of panel and rows, widest] */
  int64_t *part;         /* [panel, widest], this rank's part of a panel of sums */
};

/* to[k] += from[k], or from[count - 1 - k] where `reversed`, in multiples of the input's quantum. SB_ERR_NUMERIC when that is
 * not possible. Local. */
sb_status sb_moments_add_whole(const sb_moments *m, size_t input, int64_t *to, const float *from,
                               size_t count, bool reversed);
/* Says where a factorisation failed, and returns `status`. */
sb_status sb_moments_blame(const sb_moments *m, size_t input, sb_status status, const char *message);
/* Sums become moments in the same memory, and are kept where that is wanted. */
double *sb_moments_real(sb_moments *m, size_t input);

#endif
