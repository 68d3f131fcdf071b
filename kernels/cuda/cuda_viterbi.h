/* The nearest trellis codes of many tiles on the device: Viterbi's algorithm as
 * kernels/cpu/cpu_viterbi.h defines it, in the same whole numbers, so with the same codes. */
#ifndef SB_KERNELS_CUDA_CUDA_VITERBI_H
#define SB_KERNELS_CUDA_CUDA_VITERBI_H

#include "kernels/cuda/cuda.h"

/* A block of weights in transformed coordinates: elements first + r * ld + c of a matrix. */
typedef struct viterbi_block {
  size_t first;
  unsigned rows, cols;
  unsigned width; /* 0: its tiles are left alone */
  float scale;
} viterbi_block;

/* What to code: in every block, the columns of tiles [column, column + columns), as far as it has
 * them. */
typedef struct viterbi_job {
  const viterbi_block *blocks; /* device [count] */
  size_t count;
  unsigned widths; /* bit K: blocks of width K may be among them */
  sb_code_kind code_kind;
  unsigned column, columns; /* tiles */
  unsigned down;            /* most rows of tiles of a block */
  const float *s;           /* device: the matrix */
  size_t ld;
  float *values; /* the values of the codes, in the places of s, which it may be; NULL: not asked */
  uint8_t *codes; /* likewise the codes */
  float *errors;  /* [.., tile_cols]: s - values of row r and tile `column`, in row
                     (place of r in s) / ld; NULL: not asked. For columns = 1 */
} viterbi_job;

/* O(512 x 2^L) per tile; L is that of the kind. Memory: 256 KiB to 1 MiB for each tile that is
 * coded at a time. */
sb_status sb_cuda_viterbi(sb_backend *, cudaStream_t, const viterbi_job *);

#endif
