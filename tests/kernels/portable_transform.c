/* The transforms under other names, as portable.c has the block operations; this source is compiled
 * without fused products and sums, as theirs is. */
#define sb_cpu_hadamard_runs portable_hadamard_runs
#define sb_cpu_patch_forward portable_patch_forward
#define sb_cpu_patch_back    portable_patch_back
#define sb_cpu_patch_squares portable_patch_squares
#define sb_cpu_row_squares   portable_row_squares

#include "kernels/cpu/cpu_transform.c"
