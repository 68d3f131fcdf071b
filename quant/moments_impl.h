/* The inside of quant/moments.h: the state that both ways to hold the moments share, and the
 * functions in which they differ. */
#ifndef SB_QUANT_MOMENTS_IMPL_H
#define SB_QUANT_MOMENTS_IMPL_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "mpi/blockcyclic.h"
#include "quant/device_sums.h"
#include "quant/moments.h"

typedef struct sb_moments_way {
  size_t (*bytes)(const sb_moments_setup *, const sb_sizes *);
  size_t (*factor_bytes)(const sb_moments_setup *, const sb_sizes *, int threads);
  sb_status (*allocate)(sb_moments *); /* local, as all are unless said to be collective */
  void (*release)(sb_moments *);
  /* Sums of the layer's inputs, whose widths are set, are 0. */
  sb_status (*begin)(sb_moments *, sb_stream);
  sb_status (*take)(sb_moments *, sb_stream, size_t input, const void *x);
  sb_status (*add)(sb_moments *, sb_stream, size_t s);                         /* collective */
  sb_status (*largest)(sb_moments *, sb_stream, size_t input, double *square); /* of the diagonal */
  sb_status (*give)(sb_moments *, sb_stream, const double *h); /* the sums of input 0 */
  sb_status (*factorise)(sb_moments *, sb_stream);             /* collective */
  sb_status (*panel)(sb_moments *, size_t input, size_t begin, size_t *end, const float **,
                     size_t *ld);
  sb_status (*rows)(sb_moments *, size_t input, size_t begin, size_t *end, const float **);
} sb_moments_way;

extern const sb_moments_way sb_moments_replicated, sb_moments_block_cyclic;

/* One input of the layer at hand, with memory for the widest input of its number in any layer. */
typedef struct sb_moments_input {
  size_t room;    /* channels that the memory is for */
  size_t width;   /* channels of the layer's input */
  double quantum; /* a power of 2 */
  double largest; /* of the diagonal, in the sequence that sets the quanta */
  /* replicated: all on the device; distributed: all on the host, and the factor
   * in the sums' memory */
  int64_t *sums; /* multiples of quantum; of `count` elements */
  size_t count;
  float *factor;
  float *whole; /* the moments as they were factorised, laid out as they are; where they are kept */
  sb_factor_repair repair;
  float *square;    /* replicated: device, [n, n], of the sequence at hand */
  sb_cyclic layout; /* distributed */
  void *kept;       /* distributed: device, [keep, T, n] operands of the sequences at hand */
} sb_moments_input;

struct sb_moments {
  sb_moments_setup setup;
  const sb_world *world;
  const sb_moments_way *way;
  size_t layer;
  const char *given; /* what input 0 is, where moments are given; NULL: an input of the layer */
  size_t inputs, most_inputs; /* of the layer at hand, of any */
  sb_moments_input *in;       /* [most_inputs] */

  /* replicated */
  sb_device_sums over_ranks;

  /* distributed */
  size_t panel; /* columns of a panel of sums */
  size_t keep, held;
  size_t rows;           /* of a panel of a factor: whole blocks */
  float *product, *host; /* device [panel, widest], host [larger of panel and rows, widest] */
  int64_t *part;         /* host [panel, widest]: this rank's part of a panel of sums */
  int64_t *part_dev;     /* the same on the device; `part` where that is the host */
};

/* Inputs that a layer has at most. */
size_t sb_moments_inputs(const sb_moments_setup *setup, const sb_arch *arch);
/* Channels of the widest input of a number in any layer: what its buffers have room for. */
size_t sb_moments_widest(const sb_moments_setup *setup, const sb_arch *arch, size_t input);
/* Element (i, j) of given moments h [n, n], of which the part above the diagonal is read, in whole
 * quanta. */
static inline int64_t sb_moments_given(const sb_moments *m, const double *h, size_t i, size_t j) {
  const size_t n = m->in[0].width;
  return llrint((i < j ? h[i * n + j] : h[j * n + i]) / m->in[0].quantum);
}
/* Fails with `status`, naming layer and input. */
sb_status sb_moments_blame(const sb_moments *m, size_t input, sb_status status,
                           const char *message);
/* Explains an SB_ERR_NUMERIC of sums, naming layer and input; other statuses stay. */
sb_status sb_moments_blame_sum(const sb_moments *m, size_t input, sb_status status);

#endif
