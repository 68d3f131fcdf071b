/* Second moments of the inputs of a layer's matrices, `H = sum over calibration tokens of x x'`,
 * and their factors (kernels/factor.h), which compensated rounding works with.
 *
 * The inputs are those of the architecture's table (model/arch.h): matrices that multiply the same
 * activations share one. The x'x of a sequence is computed in f32 and added in whole multiples of a
 * quantum, so exactly: H has the same bits for any number of ranks. n is the number of channels of
 * an input. Three modes:
 *
 * - Replicated: every rank sums all of H and factorises it alone, on its device (a processor: on
 *   one thread). The factors have the same bits for any number of ranks and threads; on GPUs, for
 *   any number of ranks with GPUs of one kind. Device memory per input: 16 n^2 bytes, and 8 n^2
 *   while it is factorised. Messages: 8 n^2 bytes per layer.
 * - Distributed: H is summed panel by panel into a block-cyclic layout over all ranks
 *   (mpi/blockcyclic.h) and factorised by all of them (quant/factor_scalapack.h). Memory per
 *   input: 8 n^2 / ranks bytes, as much again for the widest one, and panels of n x
 *   SB_MOMENT_PANEL elements of 24 bytes. The inputs of several sequences are kept
 *   (`input_bytes`), because panels are summed one after another. Messages of a rank: 4 n^2 bytes
 *   each time `input_bytes` are full, 2 n^2 for the factors. The factors are computed in double
 *   precision and rounded to float; they equal the replicated ones but for one element in some
 *   10^4. They have the same bits for the same number of ranks and any number of threads.
 * - Distributed, single precision: half the time where quant/factor_scalapack.h finds it stable
 *   enough, double precision elsewhere. Between numbers of ranks the factors differ by some 1e-5
 *   of their diagonal, so now and then a weight is rounded differently.
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
  /* replicated if 24 n^2 bytes of the widest input fit (sb_moments_room), else distributed; also
   * distributed, with a line in the log, where a GPU turns out to be full */
  SB_FACTOR_AUTO,
  SB_FACTOR_REPLICATED,
  SB_FACTOR_DISTRIBUTED,
  SB_FACTOR_DISTRIBUTED_SINGLE
} sb_factor_mode;
/* Names by mode; NULL behind the last. */
extern const char *const sb_factor_mode_names[];

#define SB_MOMENT_HOST_ROOM ((size_t)1 << 30)
enum { SB_MOMENT_DEVICE_SHARE = 3 };
/* The largest 24 n^2, in bytes, for replicated factors. On a processor it is SB_MOMENT_HOST_ROOM
 * (n <= 6688). On a GPU it is the rank's part of the memory / SB_MOMENT_DEVICE_SHARE, because the
 * four inputs together take up to 34 n^2. Local. */
size_t sb_moments_room(const sb_backend *backend);
/* The mode to take: `mode` itself, or for AUTO by the channels of the widest input. Pure. */
sb_factor_mode sb_moments_settle(sb_factor_mode mode, size_t widest, size_t room);

enum {
  SB_MOMENT_PANEL = 512, /* columns, or up to twice that where the grid of ranks asks for it */
  SB_MOMENT_BLOCK = 128  /* of the block-cyclic layout: docs/measurements/factor.md */
};

typedef struct sb_moments_setup {
  const sb_model *model;
  size_t width; /* 0: the inputs of layers. Else there is one input, of so many channels, that no
                   layer has: its moments are given (sb_moments_give), and what is said of sequences
                   is not read */
  sb_backend *backend; /* its free_bytes are the same on all ranks */
  size_t seqlen;
  size_t local, most_local; /* sequences of this rank, and of the rank that has most */
  size_t input_bytes;       /* for kept inputs, at least one sequence's; distributed only */
  size_t host_piece;        /* elements of a GPU's sums per message; 0: 2^23 */
  double damping;           /* share of the mean diagonal */
  bool keep; /* sb_moments_rows will be called: 4 n^2 bytes more, / ranks if distributed */
  sb_factor_mode mode;
} sb_moments_setup;

typedef struct sb_moments sb_moments;

/* *out = moments of no layer yet. Device and host memory as above, for all inputs of a layer, each
 * as wide as in any layer. SB_ERR_MEMORY. Collective; all ranks fail together. */
sb_status sb_moments_create(const sb_moments_setup *setup, sb_moments **out);
/* Bytes that sb_moments_create takes where host and device are one; and bytes that its settled mode
 * takes beside that to factorise with `threads` threads: an f64 copy of each input at hand, or of
 * the rank's part of one. The setup's model is not read. Pure. */
size_t sb_moments_bytes(const sb_moments_setup *setup, const sb_sizes *sizes);
size_t sb_moments_factor_bytes(const sb_moments_setup *setup, const sb_sizes *sizes, int threads);
void sb_moments_free(sb_moments **moments);

/* The mode taken: not SB_FACTOR_AUTO. */
sb_factor_mode sb_moments_mode(const sb_moments *moments);
/* Channels of an input of the layer that sb_moments_begin named. */
size_t sb_moments_width(const sb_moments *moments, size_t input);

/* True where panels and rows lie in device memory; otherwise they lie in the host's. */
bool sb_moments_on_device(const sb_moments *moments);

/* Begins layer number `layer`: all sums are 0. Local. */
sb_status sb_moments_begin(sb_moments *moments, sb_stream stream, size_t layer);
/* An input hook (pass/layer_call.h): adds a sequence's x of one input. Local. */
sb_status sb_moments_take(void *moments, sb_stream stream, size_t input, const void *x);
/* Ends this rank's sequence s. Every rank calls it most_local times, s = 0, 1, ..., also for
 * sequences that it does not have. Sequence 0 of rank 0 sets the quanta. `status` is the outcome of
 * the sequence on this rank. SB_ERR_NUMERIC for a moment that is not finite, or 2^10 times the
 * largest of sequence 0. Collective; all ranks fail together. */
sb_status sb_moments_end_sequence(sb_moments *moments, sb_stream stream, size_t s,
                                  sb_status status);

/* In place of a layer's sequences, where setup->width is not 0: input 0 has the moments h
 * [width, width], symmetric, the same on all ranks; read above its diagonal only, and not after the
 * call. `what` names them in messages and outlives the call that factorises them. SB_ERR_NUMERIC
 * where they are not finite. Collective; all ranks fail together. */
sb_status sb_moments_give(sb_moments *moments, sb_stream stream, const double *h, const char *what);

/* Repairs that a layer's moments needed before they could be factorised. */
typedef struct sb_moments_repair {
  size_t repaired; /* inputs whose moments needed more than the usual damping */
  size_t dead;     /* channels that are 0 for all tokens */
} sb_moments_repair;

/* Factorises the moments of all inputs of the layer; adds to *repair. SB_ERR_NUMERIC where no
 * damping helps. Collective; all ranks fail together. */
sb_status sb_moments_factorise(sb_moments *moments, sb_stream stream, sb_moments_repair *repair);

/* The next rows [begin, *end) of an input's factor, from column `begin` on: element (r, c) is
 * `(*panel)[(r - begin) * *ld + c - begin]`. `begin` is 0, then the last *end, until that is n;
 * *end is a multiple of the model's block columns, or n. Valid until the next call. Replicated:
 * local, all rows at once. Distributed: collective; all ranks fail together. */
sb_status sb_moments_panel(sb_moments *moments, size_t input, size_t begin, size_t *end,
                           const float **panel, size_t *ld);

/* The same for rows of the moments as they were factorised, damping included: element (r, c) is
 * `(*panel)[(r - begin) * n + c]`. Only if setup->keep. */
sb_status sb_moments_rows(sb_moments *moments, size_t input, size_t begin, size_t *end,
                          const float **panel);

#endif
