/* What a run of quantize needs of a rank: memory, traffic and arithmetic, from the configuration
 * alone. `plan` prints these figures; bench/footprint.sh holds them against what a run takes.
 * Local, pure; all sizes in bytes, as doubles (they are for people).
 *
 * A run has phases; what one holds beside what all hold is released before the next, so a rank's
 * peak is that of its largest phase. SEARCH, REORDER (a gradient pass before the search), ROUND
 * (--quantizer gptq, after it) and TUNE (--tune-seqs, after that).
 *
 * Held by all
 *   parameters   model / ranks + one unit (block rows of the widest matrix): the rank's part of the
 * store slots        2 x the largest group (a decoder layer, or a chunk of the embedding), shared
 * by the ranks of a node; none where one rank has all. A rank's resident set shows all of it; a
 * node holds it once bit_maps     1 byte a block of the model, four times (current, candidate,
 * best, exchange) orders       where channels are reordered: 8 bytes a channel of every order
 *   importance   fitted grids: 4 bytes an input channel of every layer
 *   program      code, MPI's buffers, BLAS' buffers a thread
 * A gradient pass (SEARCH, REORDER)
 *   prepared     the matrices of one layer in the type of the GEMMs (f32: 4 bytes, bf16: 2), fits
 * of its groups, and a chunk of the LM head; indexed orders: also the largest matrix, and 8 bytes a
 * row and column inputs       the layer inputs of a wave of sequences: wave x seqlen x hidden x 4 x
 * (layers + 1), + 3 for the ends of the model activations  one sequence in one layer: every
 * intermediate of forward and backward in f32, those that matrices multiply in the type of the
 * GEMMs, and the attention's scratch; indexed: and twice seqlen x the widest input gradient     f32
 * gradient of the largest matrix; none for SB_GAINS_HESSIAN logits       f32, seqlen x the rows of
 * a chunk of the LM head SEARCH: scores scores       128 bytes a block of the largest layer + 96 a
 * block the rank owns, 18 a group of a layer, or of all layers and a byte a block where that is at
 * most SB_KEPT_GRIDS; diagonal     (16 x widths x (1 + 1 / ranks) + 144) bytes a block of a layer,
 * 6 a group and width, 16 x widths + 72 a block the rank owns; hessian      second moments of a
 * layer: 16 bytes an element of their triangles (kernels/backend.h), as much again where ranks
 * exchange them, and the widest input's in f32; 72 bytes a block the rank owns and of its share of
 * a layer; with several waves 16 bytes an element of all layers / ranks divergence   the larger of
 * scores and diagonal, one after the other, and 72 bytes a block the rank owns in each case 64
 * bytes a block the rank owns and 11 MiB for the allocator (alloc/core.h) and with --check-seqs a
 * pass without gradients: check prepared, activations (forward) and logits once more, and 2 x a
 * wave's layer inputs and for divergence: reference sequences of the rank and of a wave x seqlen x
 * (hidden in the type of the GEMMs + 4), 16 a token of a wave, and the logits once more; of the
 * check sequences too REORDER: order_scores 16 bytes a row and column of all matrices / ranks and
 * 48 of one layer's ROUND packed            the packed model / ranks and a unit; its slots, shared
 * as above round_prepared    the matrices of one layer twice, in full precision and rounded
 * round_inputs      inputs of a layer for all sequences of the rank, and for one more
 * round_activations one sequence in one layer, forward moments
 * of quant/moments.h block_rows        5 bytes, 9 where they are refined, and a share of 20 a
 * weight of the rank's rows of the matrices that share an input TUNE: the packed model and its
 * slots, a gradient pass over the sequences of a batch, with `prepared`, `activations`, `gradient`
 * and `logits` as in the search, and
 *   tune_inputs       layer inputs of a wave of the batch
 *   tune_reference    as `reference`, of all sequences of the rank
 *   scales            28 bytes a group of a layer, and 28 a group the rank owns
 *
 * Traffic. A walk through the model brings every byte to every node: a rank sends its part to the
 * other nodes' ranks, model / ranks x (nodes - 1). A gradient pass walks the layers and the LM head
 * twice (forward, backward) for each wave, and sums 64 bytes a block over the ranks; rounding walks
 * the model and the packed one, and sums the second moments; tuning walks the model once, the
 * packed one as a gradient pass for each batch, and sums 8 bytes a group then. Inside a node
 * nothing crosses the network.
 *
 * Arithmetic. model/arch.h's counts, times sequences / ranks (rounded up: the busiest rank). */
#ifndef SB_PLAN_FOOTPRINT_H
#define SB_PLAN_FOOTPRINT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/dtype.h"
#include "kernels/backend.h"
#include "model/arch.h"
#include "quant/moments.h"
#include "model/orders.h"

/* What predicts the effect of moves, by what it holds: fisher, taylor and second; diagonal;
 * hessian; divergence of sensitivity/estimator.h. */
typedef enum sb_footprint_gains {
  SB_GAINS_SCORES,
  SB_GAINS_DIAGONAL,
  SB_GAINS_HESSIAN,
  SB_GAINS_DIVERGENCE
} sb_footprint_gains;

typedef struct sb_footprint_setup {
  const sb_arch *arch;
  sb_dtype source; /* of the weights in the file */
  sb_compute compute;
  size_t ranks, ranks_per_node;
  int threads;       /* of a rank */
  size_t seqs;       /* of all ranks */
  size_t check_seqs; /* --check-seqs: others, whose loss decides; 0: none */
  size_t seqlen;
  size_t block_rows, block_cols;
  double wave_bytes; /* most memory for layer inputs; a wave has at least one sequence */
  sb_reorder reorder;
  bool fitted; /* grids */
  sb_footprint_gains gains;
  size_t widths; /* of a block that are possible */
  bool gptq;     /* ROUND takes place: */
  double bits;   /* a weight of the packed model */
  sb_factor_mode factor;
  size_t moment_room; /* sb_moments_room; 0: a processor's */
  int refine;         /* passes */
  size_t round_seqs;
  size_t tune_seqs, tune_batch; /* TUNE takes place where tune_seqs > 0: in batches of so many */
} sb_footprint_setup;

typedef enum sb_footprint_phase {
  SB_PHASE_SEARCH,
  SB_PHASE_REORDER,
  SB_PHASE_ROUND,
  SB_PHASE_TUNE,
  SB_PHASES
} sb_footprint_phase;

typedef struct sb_footprint {
  double parameters, slots, bit_maps, orders, importance, program;
  double prepared, inputs, activations, gradient, logits;
  double scores, check, reference, order_scores;
  double packed, packed_slots, round_prepared, round_inputs, round_activations, moments, block_rows;
  double tune_inputs, tune_reference, scales;
  double
      phase_bytes[SB_PHASES]; /* sums: a rank's resident set in that phase; 0 where there is none */
  sb_footprint_phase largest;
  double rank_bytes;   /* of the largest phase: what a rank's peak resident set shows */
  double node_bytes;   /* the most a node needs: slots once, the rest for each of its ranks */
  double device_bytes; /* what a rank takes of a GPU, in the largest of searching, rounding and
                          tuning */

  size_t nodes, local_seqs, wave,
      waves; /* of the busiest rank: sequences, sequences of a wave, waves of a pass */
  size_t blocks;
  double model_bytes, group_bytes; /* all weights; the largest group */
  double loss_traffic, gradient_traffic,
      round_traffic;                 /* bytes a rank sends to other nodes in a pass */
  double check_flops, check_traffic; /* of a forward pass over the check sequences */
  size_t check_waves;
  double loss_flops, gradient_flops; /* of the busiest rank in a pass */

  /* rounding, of the busiest rank; 0 without it */
  size_t round_local;
  sb_factor_mode factor; /* not SB_FACTOR_AUTO */
  double round_flops, moment_flops, factor_flops, rounding_flops,
      refine_flops; /* two forward passes; X'X; factors; columns; passes of refining */

  /* tuning, of the busiest rank; 0 without it */
  size_t tune_local, tune_steps, tune_step_waves; /* sequences; steps; waves of a step */
  double tune_learn_flops,
      tune_flops;            /* forward passes before, and one after; all steps, backwards too */
  double tune_forward_flops; /* of the steps, forwards alone */
  double tune_traffic;
} sb_footprint;

/* Blocks of all linear layers. */
size_t sb_footprint_blocks(const sb_arch *arch, size_t block_rows, size_t block_cols);
void sb_footprint_estimate(const sb_footprint_setup *setup, sb_footprint *out);

#endif
