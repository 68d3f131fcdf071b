/* Second moments of the inputs of a layer's matrices, H = sum over calibration tokens of x x', and
 * the factors of them that error-compensated rounding works with (kernels/factor.h).
 *
 * The inputs are those of the architecture's table (model/arch.h): matrices that multiply the same
 * activations share one. Each sequence's x'x is
 * computed in f32 and added as whole multiples of a quantum, exactly, so H is the same, bit for
 * bit, for any number of ranks. Where the factors are made:
 *
 * - *replicated*: every rank sums all of H and factorises it alone, on its device (on a processor,
 * on one thread). The factors are the same for any number of ranks and threads, and on GPUs for any
 * number of ranks with the same kind of GPU. Device memory for an input of n channels: 16 n^2
 * bytes, and 8 n^2 more while it is factorised. Messages: 8 n^2 bytes a layer.
 * - *distributed*: H is summed panel by panel into a block-cyclic layout over all ranks
 * (mpi/blockcyclic.h), of which a rank has 8 n^2 / ranks bytes, and factorised by all of them
 * (quant/factor_scalapack.h), with 8 n^2 / ranks more for the widest input; panels of n x
 * SB_MOMENT_PANEL elements, of 24 bytes, pass by. For panels to be summed one after another, the
 *   inputs of several sequences are kept (`input_bytes`). Messages of a rank: 4 n^2 bytes for every
 * time that `input_bytes` are full, 2 n^2 for the factors. In double precision the factors, which
 * are rounded to float in the end, come out as the replicated ones but for one element in some
 * 10^4; the promise is that they are the same for the same number of ranks and any number of
 * threads.
 * - *distributed, single precision*: half the time, where quant/factor_scalapack.h finds it stable
 * enough, double precision elsewhere. Between numbers of ranks the factors then differ by some 1e-5
 * of their diagonal, and now and then a weight is rounded another way.
 *
 * docs/measurements/factor.md has what was measured. */
#ifndef SB_QUANT_MOMENTS_H
#define SB_QUANT_MOMENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/sizes.h"

typedef enum sb_factor_mode {
  /* replicated while 24 n^2 bytes of the widest input are room enough, else distributed;
   * distributed too, with a line in the log, where a GPU turns out to be full */
  SB_FACTOR_AUTO,
  SB_FACTOR_REPLICATED,
  SB_FACTOR_DISTRIBUTED,
  SB_FACTOR_DISTRIBUTED_SINGLE
} sb_factor_mode;
/* What they are called. NULL behind the last. */
extern const char *const sb_factor_mode_names[];

#define SB_MOMENT_HOST_ROOM ((size_t)1 << 30)
enum { SB_MOMENT_DEVICE_SHARE = 3 };
/* Bytes that 24 n^2 may be for replicated factors: SB_MOMENT_HOST_ROOM of a processor's memory (n
 * <= 6688); of a GPU's, the rank's part / SB_MOMENT_DEVICE_SHARE, since the four inputs together
 * take up to 34 n^2. Local. */
size_t sb_moments_room(const sb_backend *backend);
/* The mode itself, or what AUTO stands for where the widest input has so many channels. Pure. */
sb_factor_mode sb_moments_settle(sb_factor_mode mode, size_t widest, size_t room);

enum {
  SB_MOMENT_PANEL = 512, /* columns, or up to twice that where the grid of ranks asks for it */
  SB_MOMENT_BLOCK = 128  /* of the block-cyclic layout: docs/measurements/factor.md */
};

typedef struct sb_moments_setup {
  const sb_model *model;
  sb_backend *backend; /* its free_bytes are the same on all ranks */
  size_t seqlen;
  size_t local, most_local; /* sequences of this rank, and of the rank that has most */
  size_t input_bytes; /* for kept inputs; at least one sequence's are kept. Distributed only */
  size_t host_piece;  /* elements of sums that go over the network at a time, from a GPU; 0: 2^23 */
  double damping;     /* share of the mean diagonal */
  bool keep;          /* sb_moments_rows is wanted: 4 n^2 bytes more, / ranks where distributed */
  sb_factor_mode mode;
} sb_moments_setup;

typedef struct sb_moments sb_moments;

/* Collective; all ranks fail together. Device and host memory as above, for all inputs of
 * the layer, each as wide as in any layer. */
sb_status sb_moments_create(const sb_moments_setup *setup, sb_moments **out);
/* What sb_moments_create takes where host and device are one, and what its mode, which is settled,
 * takes to factorise beside that with so many threads: an f64 copy of each input at hand, or of the
 * rank's part of one. Of the setup's model nothing is read. Pure. */
size_t sb_moments_bytes(const sb_moments_setup *setup, const sb_sizes *sizes);
size_t sb_moments_factor_bytes(const sb_moments_setup *setup, const sb_sizes *sizes, int threads);
void sb_moments_free(sb_moments **moments);

/* The mode taken: not SB_FACTOR_AUTO. */
sb_factor_mode sb_moments_mode(const sb_moments *moments);
/* Channels of an input of the layer that sb_moments_begin named. */
size_t sb_moments_width(const sb_moments *moments, size_t input);

/* Whether panels and rows are on the device, not on the host. */
bool sb_moments_on_device(const sb_moments *moments);

/* Begins a layer: all sums are 0. Local. */
sb_status sb_moments_begin(sb_moments *moments, sb_stream stream, size_t layer);
/* An input hook (pass/layer_call.h): what a sequence shows of an input. Local. */
sb_status sb_moments_take(void *moments, sb_stream stream, size_t input, const void *x);
/* Ends sequence s of this rank, which it need not have: every rank calls this most_local times, s =
 * 0, 1, ... Sequence 0 of rank 0 sets the quanta. Collective; `status` is what became of the
 * sequence on this rank, all ranks fail together. SB_ERR_NUMERIC when a moment is not finite, or
 * 2^10 times the largest of sequence 0. */
sb_status sb_moments_end_sequence(sb_moments *moments, sb_stream stream, size_t s,
                                  sb_status status);

/* What it took to factorise a layer's moments. */
typedef struct sb_moments_repair {
  size_t repaired; /* inputs whose moments needed more than the usual damping */
  size_t dead;     /* channels that are 0 for all tokens */
} sb_moments_repair;

/* The factors of all inputs of the layer; *repair is added to. Collective; all ranks fail together.
 */
sb_status sb_moments_factorise(sb_moments *moments, sb_stream stream, sb_moments_repair *repair);

/* Rows [begin, *end) of an input's factor, from column `begin` on: element (r, c) is (*panel)[(r -
 * begin) * *ld + c - begin]. `begin` is 0, then what *end was; *end is a multiple of the model's
 * block columns, or n. Valid until the next call. Replicated: local, all rows at once. Distributed:
 * collective, and all ranks fail together. */
sb_status sb_moments_panel(sb_moments *moments, size_t input, size_t begin, size_t *end,
                           const float **panel, size_t *ld);

/* Rows [begin, *end) of the moments as they were factorised, damping and all: element (r, c) is
 * (*panel)[(r - begin) * n + c], n the input's channels. As sb_moments_panel, and only where the
 * setup said `keep`. */
sb_status sb_moments_rows(sb_moments *moments, size_t input, size_t begin, size_t *end,
                          const float **panel);

#endif
