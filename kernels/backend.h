/* A device, as the rest of the program sees it: an sb_backend with its table of operations. This is
 * the only way from pass/, quant/, sensitivity/ and measure/ to the hardware.
 *
 *   b->op->rmsnorm(b, stream, y, rstd, x, w, T, h, eps)
 *
 * The type sb_NAME_fn in ops/ has the contract of operation NAME. ops/common.h has the rules that
 * all operations share: memory, asynchrony, element types, determinism. */
#ifndef SB_KERNELS_BACKEND_H
#define SB_KERNELS_BACKEND_H

#include "kernels/ops/blocks.h"
#include "kernels/ops/common.h"
#include "kernels/ops/grids.h"
#include "kernels/ops/head.h"
#include "kernels/ops/layer.h"
#include "kernels/ops/lowprec.h"
#include "kernels/ops/matmul.h"
#include "kernels/ops/memory.h"
#include "kernels/ops/moments.h"
#include "kernels/ops/packed.h"
#include "kernels/ops/peers.h"
#include "kernels/ops/round.h"
#include "kernels/ops/rows.h"
#include "kernels/ops/scores.h"
#include "kernels/ops/trellis.h"

/* All operations: OP(NAME) for each. */
#define SB_OPS(OP)                                                                                 \
  SB_MEMORY_OPS(OP)                                                                                \
  SB_PEERS_OPS(OP)                                                                                 \
  SB_MATMUL_OPS(OP)                                                                                \
  SB_LAYER_OPS(OP)                                                                                 \
  SB_HEAD_OPS(OP)                                                                                  \
  SB_GRIDS_OPS(OP)                                                                                 \
  SB_SCORES_OPS(OP)                                                                                \
  SB_MOMENTS_OPS(OP)                                                                               \
  SB_ROUND_OPS(OP)                                                                                 \
  SB_PACKED_OPS(OP)                                                                                \
  SB_LOWPREC_OPS(OP)                                                                               \
  SB_TRELLIS_OPS(OP)                                                                               \
  SB_ROWS_OPS(OP)

/* The table: a field NAME of type sb_NAME_fn * for each operation. A backend fills it with its
 * functions sb_cpu_NAME or sb_cuda_NAME, which the same list declares. */
typedef struct sb_backend_ops {
#define SB_OP_FIELD(name) sb_##name##_fn *name;
  SB_OPS(SB_OP_FIELD)
#undef SB_OP_FIELD
} sb_backend_ops;

/* How GEMM operands are held. SB_COMPUTE_F32: everything f32. SB_COMPUTE_BF16: bf16 operands, f32
 * accumulation. */
typedef enum sb_compute { SB_COMPUTE_F32, SB_COMPUTE_BF16 } sb_compute;

struct sb_backend {
  const char *name;  /* "cpu", "cuda" */
  sb_dtype act;      /* type of activations */
  sb_dtype operand;  /* type of GEMM operands */
  bool unified;      /* host and device memory are one */
  bool in_mpi;       /* MPI takes pointers into device memory; for CUDA, set by the program */
  bool split_f32;    /* set by the program: f32 products may be made of bf16 ones where that is
                        faster, as near to the exact ones but with other bits
                        (kernels/cpu/cpu_gemm_split.h) */
  size_t free_bytes; /* device memory free at creation; the program lowers it to the least of all
                        ranks */
  int peers[SB_PEER_GROUPS];     /* devices in this one's group of each kind; 0: no group */
  int peer_rank[SB_PEER_GROUPS]; /* number of this device in that group */
  double gemm_flops;             /* sum of 2 m n k over all GEMMs so far */
  double gemm_seconds; /* wall-clock seconds of these GEMMs; 0 if timing needs a sync (CUDA) */
  const sb_backend_ops *op;
  void *impl;
};

/* Creates the CPU backend. `threads` 0 takes OpenMP's default. SB_ERR_UNSUPPORTED for bf16 in a
 * build without oneDNN. Release with op->destroy. */
sb_status sb_backend_cpu_create(sb_compute compute, int threads, sb_backend **out);

/* Whether this backend's f32 products can be made of bf16 ones (split_f32). Pure. */
bool sb_backend_can_split_f32(const sb_backend *backend);

/* Sizes for upload_shared. part: bytes that one device of a node uploads (the last ones upload
 * fewer). room: bytes of device memory that the call needs. */
static inline size_t sb_shared_part(const sb_backend *b, size_t bytes) {
  const size_t devices = b->peers[SB_PEERS_NODE] > 1 ? (size_t)b->peers[SB_PEERS_NODE] : 1;
  return ((bytes + devices - 1) / devices + 15) / 16 * 16;
}
static inline size_t sb_shared_room(const sb_backend *b, size_t bytes) {
  return b->peers[SB_PEERS_NODE] > 1 ? sb_shared_part(b, bytes) * (size_t)b->peers[SB_PEERS_NODE]
                                     : bytes;
}

#endif
