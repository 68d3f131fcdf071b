/* The precision of each GEMM of each matrix of a network (kernels/lowprec.h), the same on all
 * ranks. Local, plain data. */
#ifndef SB_MODEL_PRECISION_MAP_H
#define SB_MODEL_PRECISION_MAP_H

#include <stddef.h>

#include "base/status.h"
#include "kernels/lowprec.h"
#include "model/arch.h"

typedef struct sb_precision_map {
  size_t count;                         /* arch.matrix_count */
  sb_precision (*gemms)[SB_GEMM_KINDS]; /* [count], by number through the model */
} sb_precision_map;

/* *out = one precision for all. Release with sb_precision_map_free. SB_ERR_MEMORY. */
sb_status sb_precision_map_create(const sb_arch *arch, sb_precision uniform, sb_precision_map *out);
void sb_precision_map_free(sb_precision_map *map);
/* `to` becomes what `from` is; both of one architecture. */
void sb_precision_map_copy(sb_precision_map *to, const sb_precision_map *from);

/* The three GEMMs of matrix number `matrix` of a layer. */
static inline sb_precision *sb_precision_map_of(const sb_precision_map *map, const sb_arch *arch,
                                                size_t layer, size_t matrix) {
  return map->gemms[arch->layers[layer].first_matrix + matrix];
}
/* All matrices of the layers [first, end) become `precision`. */
void sb_precision_map_set_layers(sb_precision_map *map, const sb_arch *arch, size_t first,
                                 size_t end, sb_precision precision);
/* Whether any GEMM has a precision other than SB_PRECISION_HIGH. */
bool sb_precision_map_is_low(const sb_precision_map *map);

/* Rows and columns of a matrix must be multiples of this where hardware runs the precision: 32 of
 * the mx formats, 16 of nvfp4 (its blocks) and fp8 (cuBLAS), 1 of the others. Emulation itself runs
 * any shape; its last blocks are smaller. */
size_t sb_precision_multiple(sb_precision precision);
/* SB_ERR_UNSUPPORTED for the first matrix whose shape a precision cannot carry, by name, shape, and
 * the multiple that is needed; `what` is the message's beginning, a file name say. */
sb_status sb_precision_map_check(const sb_precision_map *map, const sb_arch *arch,
                                 const char *what);

/* The share of the FLOPs of all matrices that runs in elements of `bits` bits. */
double sb_precision_map_share(const sb_precision_map *map, const sb_arch *arch, unsigned bits);

#endif
