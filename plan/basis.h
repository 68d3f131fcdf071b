/* The figures that all phases of a plan are computed from. Inside of plan/. Pure. */
#ifndef SB_PLAN_BASIS_H
#define SB_PLAN_BASIS_H

#include "model/file_size.h"
#include "model/sizes.h"
#include "pass/wave.h"
#include "plan/setup.h"

typedef struct sb_plan_basis {
  const sb_plan_setup *setup;
  sb_sizes sizes;
  sb_backend backend; /* no device: types alone, for the `_bytes()` of buffers */
  size_t nodes;
  size_t tables;                    /* 1 where the LM head is tied to the embedding, else 2 */
  size_t chunk;                     /* rows of the largest chunk of the embedding and the LM head */
  double hidden_bytes;              /* f32 activations of one sequence */
  double model_bytes;               /* all weights in the source's type */
  double table_bytes;               /* the embedding, or an LM head of its own */
  double layers_bytes;              /* all but embedding and LM head */
  bool coded_embedding, coded_head; /* in the packed model; one table may be both */
  double packed_tables_bytes; /* embedding and LM head in the packed model: a tied table once */
  double packed_table_bytes;  /* the larger of them */
  double packed_chunk_bytes;  /* the largest chunk of them */
  double group_bytes;         /* the largest group of the store: a layer or a chunk */
  double chunk_bytes;         /* a chunk in the source's type */
  double sent;                /* share of a walk's bytes that a rank sends: other nodes / ranks */
} sb_plan_basis;

sb_plan_basis sb_plan_basis_of(const sb_plan_setup *setup);

/* What the sizes of files depend on. */
sb_file_shape sb_plan_file_shape(const sb_plan_setup *setup);
/* A wave with room for `room` sequences; points into the basis. */
sb_wave_sizes sb_plan_wave_sizes(const sb_plan_basis *basis, size_t room);

/* Sequences of the busiest rank. */
size_t sb_plan_local(const sb_plan_setup *setup, size_t seqs);
/* Sequences of a wave, of `local`, when the kept inputs of one take `each` bytes; at least one. */
size_t sb_plan_wave(const sb_plan_setup *setup, size_t local, double each);
/* FLOPs of the LM head for one sequence, once forward: the extra work of a divergence over a loss
 * of tokens. */
double sb_plan_head_flops(const sb_plan_setup *setup);

/* Ranks of a node; ranks that share a GPU. */
size_t sb_plan_node_ranks(const sb_plan_setup *setup);
size_t sb_plan_gpu_ranks(const sb_plan_setup *setup);

#endif
