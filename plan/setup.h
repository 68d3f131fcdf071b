/* The input of a plan: everything about a run of quantize that its memory, traffic and time depend
 * on. Plain data. */
#ifndef SB_PLAN_SETUP_H
#define SB_PLAN_SETUP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/dtype.h"
#include "kernels/backend.h"
#include "model/arch.h"
#include "model/model.h"
#include "model/orders.h"
#include "quant/moments.h"
#include "quant/scale_numbers.h"
#include "sensitivity/estimator.h"

typedef struct sb_plan_setup {
  const sb_arch *arch;
  sb_dtype source; /* of the weights in the file */
  sb_compute compute;
  size_t ranks, ranks_per_node;
  int threads;          /* of a rank */
  size_t gpus_per_node; /* 0: processors compute */
  sb_blocking blocking;
  sb_reorder reorder;
  bool fitted;        /* grids */
  double bits;        /* per weight, of the packed model */
  size_t seqlen;      /* tokens of a sequence */
  size_t input_bytes; /* most memory of a rank for layer inputs; a wave has at least a sequence */

  struct {
    unsigned bits[SB_TABLES]; /* as sb_model.tables: 1 to 8, where they are chosen a guess; 0: they
                                 stay as they are */
    bool chosen;              /* by what widths cost; layers' costs are measured beside them */
    bool measured; /* a gradient pass finds what they cost, for their widths or their rounding */
  } tables;
  struct {
    size_t seqs;       /* of all ranks, as everywhere here */
    size_t check_seqs; /* others, whose loss decides; 0: none */
    sb_estimator estimator;
    unsigned widths; /* of a block that are possible */
    size_t strides, trades;
  } search;
  struct {
    bool gptq; /* else to nearest */
    size_t seqs;
    sb_factor_mode factor;
    size_t moment_room; /* sb_moments_room; 0: a processor's */
    int refine;         /* passes over layers, and over tables */
    int table_refine;
    size_t times; /* that the model is rounded: alloc/allocate_trellis.h; else 1 */
  } round;
  struct {
    size_t seqs, batch; /* no scales are trained where seqs is 0 */
    size_t epochs;      /* times that all are taken */
    sb_trained trained; /* beside the matrices of layers */
  } tune;
} sb_plan_setup;

#endif
