/* Rows of a stack on the device: half a warp has one row of a block, lane i its columns i, i + 16,
 * ... in registers. */
#ifndef SB_KERNELS_CUDA_CUDA_STACK_CUH
#define SB_KERNELS_CUDA_CUDA_STACK_CUH

#include "kernels/cuda/cuda_blocks.cuh"

/* A stack as kernels get it. */
typedef struct stack_dev {
  size_t rows, cols;
  sb_symmetry symmetry;
  const uint8_t *bits;
  sb_grid *grids;
  uint8_t *codes;
} stack_dev;

static inline stack_dev stack_dev_of(const sb_stack *stack) {
  const stack_dev out = {stack->rows, stack->cols,  stack->symmetry,
                         stack->bits, stack->grids, stack->codes};
  return out;
}

/* One block column: columns [first, first + n), and the block on the diagonal of a matrix, row k at
 * square + k * ld. */
typedef struct stack_column {
  size_t j, first;
  int n;
  const float *square;
  size_t ld;
} stack_column;

/* PIECES of GROUP_PIECE columns hold a group. More than one do not fit into registers: loops over
 * them stay loops. */
constexpr int STACK_PIECES = SB_GROUP_MAX / GROUP_PIECE;
template <int PIECES> constexpr int stack_unroll = PIECES == 1 ? GROUP_EACH : 1;

/* The row of this half warp. All halves keep step: beyond the last row they do it again, but
 * neither read what the kernel writes nor keep anything. */
typedef struct stack_row {
  size_t r;
  bool mine;
} stack_row;
__device__ __forceinline__ stack_row stack_row_here(size_t rows) {
  const size_t r = (size_t)blockIdx.x * BLOCK_HALVES + threadIdx.x / GROUP_LANES;
  stack_row row;
  row.mine = r < rows;
  row.r = row.mine ? r : rows - 1;
  return row;
}

/* Lane i's value in all lanes of its half warp. */
template <typename T> __device__ __forceinline__ T half_get(T value, int i) {
  return sb_warp_get(value, (int)threadIdx.x % SB_WARP / GROUP_LANES * GROUP_LANES + i);
}

/* What an operation on the columns [begin, end) begins with: checks, and *room = `width` floats a
 * row. */
static inline sb_status stack_begin(sb_backend *backend, cudaStream_t queue, const char *operation,
                                    const sb_stack *stack, size_t begin, size_t end, size_t width,
                                    float **room) {
  SB_TRY(sb_check_stack(operation, stack, begin, end));
  return sb_cuda_scratch(backend, queue, SB_CUDA_SLOT_WORK, stack->rows * width * sizeof **room,
                         room);
}

static inline unsigned stack_blocks(const sb_stack *stack) {
  return (unsigned)sb_div_up(stack->rows, (size_t)BLOCK_HALVES);
}

#endif
