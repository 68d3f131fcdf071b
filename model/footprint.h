/* What a run needs of a rank: memory, traffic and arithmetic, from the configuration alone. `plan` prints
 * these figures, `quantize` compares them with what it measures. Local, pure; all sizes in bytes, as doubles
 * (they are for people).
 *
 * Memory of a rank, each line one field of sb_footprint:
 *   parameters   model / ranks + one unit (block rows of the widest matrix): the rank's part of the store
 *   slots        2 x the largest group (a decoder layer, or a chunk of the embedding), shared by the ranks of
 * a node. A rank's resident set shows all of it; a node holds it once prepared     the matrices of one layer
 * in the type of the GEMMs (f32: 4 bytes, bf16: 2), and a chunk of the LM head inputs       the layer inputs
 * of a wave of sequences: wave x seqlen x hidden x 4 x (layers + 1), + 3 for the ends of the model; without
 * gradients 2 activations  one sequence in one layer: every intermediate of forward and backward in f32, and
 * the attention's scratch gradient     f32 gradient of the largest matrix logits       f32, seqlen x the rows
 * of a chunk of the LM head scores       128 bytes a block of the largest layer + 96 a block the rank owns
 *   bit_maps     1 byte a block of the model, four times (current, candidate, best, exchange)
 *   orders       where channels are reordered: 8 bytes a channel of every order, and while they are scored 16 bytes a row
 * and column of all matrices / ranks and 48 of one layer's; indexed, also the largest matrix in the type of the GEMMs, 8 bytes a
 * row and column of a layer, and twice seqlen x the widest input x 4
 *   program      code, MPI's buffers, BLAS' buffers a thread
 *
 * Traffic. A walk through the model brings every byte to every node: a rank sends its part to the other
 * nodes' ranks, model / ranks x (nodes - 1). A gradient pass walks the layers and the LM head twice (forward,
 * backward) for each wave, and sums 64 bytes a block over the ranks. Inside a node nothing crosses the
 * network.
 *
 * Arithmetic. model/arch.h's counts, times sequences / ranks (rounded up: the busiest rank). */
#ifndef SB_MODEL_FOOTPRINT_H
#define SB_MODEL_FOOTPRINT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/dtype.h"
#include "kernels/backend.h"
#include "model/arch.h"
#include "model/orders.h"

typedef struct sb_footprint_setup {
  const sb_arch *arch;
  sb_dtype source; /* of the weights in the file */
  sb_compute compute;
  size_t ranks, ranks_per_node;
  int threads; /* of a rank */
  size_t seqs; /* of all ranks */
  size_t seqlen;
  size_t block_rows, block_cols;
  double wave_bytes; /* most memory for layer inputs; a wave has at least one sequence */
  bool gradients;    /* a search; else an evaluation */
  sb_reorder reorder;
} sb_footprint_setup;

typedef struct sb_footprint {
  double parameters, slots, prepared, inputs, activations, gradient, logits, scores, bit_maps, orders,
      program;
  double rank_bytes; /* the sum: what a rank's peak resident set shows */
  double node_bytes; /* what a node needs: slots once, the rest for each of its ranks */

  size_t nodes, local_seqs, wave,
      waves; /* of the busiest rank: sequences, sequences of a wave, waves of a pass */
  size_t blocks;
  double model_bytes, group_bytes;       /* all weights; the largest group */
  double loss_traffic, gradient_traffic; /* bytes a rank sends to other nodes in a pass */
  double loss_flops, gradient_flops;     /* of the busiest rank in a pass */
} sb_footprint;

/* Blocks of all linear layers. */
size_t sb_footprint_blocks(const sb_arch *arch, size_t block_rows, size_t block_cols);
void sb_footprint_estimate(const sb_footprint_setup *setup, sb_footprint *out);

/* Seconds of a pass when arithmetic and messages overlap: the longer of the two. A rate of 0 leaves its part
 * out. `node_rate` is a node's network bandwidth in bytes a second, shared by its ranks. */
double sb_footprint_seconds(const sb_footprint_setup *setup, double flops, double traffic, double flop_rate,
                            double node_rate);

#endif
