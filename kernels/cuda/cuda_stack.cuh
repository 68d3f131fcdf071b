/* Rows of a stack on the device. Half a warp has one row of a block; lane i holds its columns i,
 * i + 16, ... in registers. */
#ifndef SB_KERNELS_CUDA_CUDA_STACK_CUH
#define SB_KERNELS_CUDA_CUDA_STACK_CUH

#include "kernels/cuda/cuda_blocks.cuh"

/* The device arrays of a stack, as kernels get them. */
typedef struct stack_dev {
  size_t rows, cols;
  sb_code_kind code_kind;
  const uint8_t *bits;
  sb_grid *grids;
  uint8_t *codes;
} stack_dev;

static inline stack_dev stack_dev_of(const sb_stack *stack) {
  const stack_dev out = {stack->rows, stack->cols,  stack->code_kind,
                         stack->bits, stack->grids, stack->codes};
  return out;
}

/* Block column j: the columns [first, first + n), and its block on the diagonal of H or of the
 * factor, with row k at square + k * ld. */
typedef struct stack_column {
  size_t j, first;
  int n;
  const float *square;
  size_t ld;
} stack_column;

/* A group has PIECES of GROUP_PIECE columns. Several pieces do not fit into registers, so loops
 * over them are not unrolled. */
constexpr int STACK_PIECES = SB_GROUP_MAX / GROUP_PIECE;
template <int PIECES> constexpr int stack_unroll = PIECES == 1 ? GROUP_EACH : 1;

/* The row of this half warp. Both halves of a warp must keep step. So a half beyond the last row
 * repeats it, with `mine` false: it must not store, nor read what the kernel writes. */
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

/* The value of lane i of this half warp, in all its lanes. */
template <typename T> __device__ __forceinline__ T half_get(T value, int i) {
  return sb_warp_get(value, (int)threadIdx.x % SB_WARP / GROUP_LANES * GROUP_LANES + i);
}

/* Begins an operation on the columns [begin, end): checks it, and *room = `width` floats of scratch
 * per row. */
static inline sb_status stack_begin(sb_backend *backend, cudaStream_t queue, const char *operation,
                                    const sb_stack *stack, size_t begin, size_t end, size_t width,
                                    float **room) {
  SB_TRY(sb_check_stack(operation, stack, begin, end));
  return sb_cuda_scratch(backend, queue, SB_CUDA_SLOT_WORK, stack->rows * width * sizeof **room,
                         room);
}

/* w -= error [rows, c.n] times the rows of the factor of block column c, in the columns behind it.
 * `behind`: where these begin in the first of the rows. */
static inline sb_status stack_correct(sb_backend *backend, cudaStream_t queue,
                                      const sb_stack *stack, float *w, const float *error,
                                      const stack_column &c, const float *behind) {
  const size_t n = (size_t)c.n, end = c.first + n;
  const sb_gemm_args product = {.m = stack->rows,
                                .n = stack->cols - end,
                                .k = n,
                                .a = sb_view(error, SB_F32, n),
                                .b = sb_view(behind, SB_F32, c.ld),
                                .c = w + end,
                                .c_dtype = SB_F32,
                                .ldc = stack->cols,
                                .add = true,
                                .type = SB_GEMM_F32,
                                .scale_a = nullptr,
                                .scale_b = nullptr};
  return end < stack->cols ? sb_cuda_add_product(backend, queue, &product, -1.0f) : SB_OK;
}

static inline unsigned stack_blocks(const sb_stack *stack) {
  return (unsigned)sb_div_up(stack->rows, (size_t)BLOCK_HALVES);
}

#endif
