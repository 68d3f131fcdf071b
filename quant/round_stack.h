/* The block rows of one rank that share an input, on their way to codes. They stay on the device
 * and are rounded and refined there, while the factor and the second moments pass by panel by panel
 * (kernels/backend.h: sb_stack). All functions are local. */
#ifndef SB_QUANT_ROUND_STACK_H
#define SB_QUANT_ROUND_STACK_H

#include "base/dtype.h"
#include "kernels/backend.h"

typedef struct sb_round_stack sb_round_stack;

typedef struct sb_round_setup {
  sb_backend *backend;
  sb_stream stream;
  size_t rows, count;      /* rows and block rows, all together */
  size_t cols, block_cols; /* of each */
  sb_code_kind code_kind;
  bool refine;     /* the weights themselves are kept, for sb_round_stack_refine */
  bool panels_dev; /* panels are in device memory, not in the host's */
} sb_round_setup;

/* *out = an empty stack for setup->rows rows, possibly 0. Device memory: 5 bytes per weight, 9 with
 * `refine`, and 2 per row in trellis codes; a device with memory of its own also holds a block row
 * as it is stored, and a panel that comes from the host. SB_ERR_MEMORY. */
sb_status sb_round_stack_create(const sb_round_setup *setup, sb_round_stack **out);
/* Bytes that sb_round_stack_create takes. Pure. */
size_t sb_round_stack_bytes(const sb_round_setup *setup);
void sb_round_stack_free(sb_round_stack **stack);

/* A block row to add; host memory that is not read after the call. */
typedef struct sb_round_rows {
  const void *w; /* [rows, cols] of `dtype` */
  sb_dtype dtype;
  size_t rows;
  const uint8_t *bits; /* [block columns] */
  /* In trellis codes: number of its first row in its matrix, and factors (ops/trellis.h). */
  size_t first_row;
  uint64_t row_key;
  const uint16_t *col_factors; /* device [cols], the same for all block rows of the stack */
} sb_round_rows;

/* Adds a block row, in trellis codes in transformed coordinates. All setup->count block rows are
 * added before anything else. */
sb_status sb_round_stack_add(sb_round_stack *stack, const sb_round_rows *rows);

/* round_columns, or trellis_round, for columns [begin, end); in order, until all are done. */
sb_status sb_round_stack_round(sb_round_stack *stack, size_t begin, size_t end, const float *panel,
                               size_t ld, bool fitted);
/* Refining, after the rounding: one sweep over all columns for the residual, then one
 * sweep per pass. */
sb_status sb_round_stack_residual(sb_round_stack *stack, size_t begin, size_t end,
                                  const float *panel);
sb_status sb_round_stack_refine(sb_round_stack *stack, size_t begin, size_t end,
                                const float *panel);

/* Block row k's grids [block columns, rows], codes [rows, cols] and, in trellis codes, factors of
 * its rows [rows], as sb_blockrow_pack takes them.
 * A device with memory of its own sends all grids at the first call; they take 20 bytes per group
 * of the host's memory then. */
sb_status sb_round_stack_get(sb_round_stack *stack, size_t k, sb_grid *grids, uint8_t *codes,
                             uint16_t *row_factors);

#endif
