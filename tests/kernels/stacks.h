/* One block row as a stack on the CPU backend, for the tests of rounding by second moments. */
#ifndef SB_TESTS_KERNELS_STACKS_H
#define SB_TESTS_KERNELS_STACKS_H

#include "tests/kernels/blocks.h"

static sb_backend *cpu;

static int stack_open(void **state) {
  (void)state;
  return sb_backend_cpu_create(SB_COMPUTE_F32, 0, &cpu) != SB_OK;
}
static int stack_close(void **state) {
  (void)state;
  cpu->op->destroy(cpu);
  return 0;
}

typedef struct stack_of {
  sb_stack stack;
  size_t *starts;
  uint8_t *bits;
} stack_of;

/* Block row 0 of the grid, block column j at bits[j]; groups and codes
 * as sb_blockrow_pack takes them. */
static stack_of stack_make(const sb_tiling *tiling, const uint8_t *bits, sb_code_kind code_kind,
                           sb_grid *grids, uint8_t *codes) {
  const size_t rows = sb_tiling_rows_of(tiling, 0), columns = sb_tiling_block_cols(tiling);
  stack_of s = {.starts = calloc(2, sizeof *s.starts), .bits = malloc(columns * rows)};
  s.starts[1] = rows;
  for (size_t j = 0; j < columns; j++) memset(s.bits + j * rows, bits[j], rows);
  s.stack = (sb_stack){rows,  tiling->cols, tiling->block_cols, 1, s.starts, code_kind, s.bits,
                       grids, codes};
  return s;
}
static void stack_drop(stack_of *s) {
  free(s->starts);
  free(s->bits);
}

#endif
