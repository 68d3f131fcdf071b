/* A tensor of a safetensors file, as its header describes it. */
#ifndef SB_IO_TENSOR_INFO_H
#define SB_IO_TENSOR_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"

enum { SB_TENSOR_MAX_DIMS = 8 };

typedef struct sb_tensor_info {
  const char *name;
  const char *type_name;            /* of its elements, as the file spells it */
  sb_dtype dtype;                   /* SB_DTYPE_COUNT: of a type that this program does not know */
  size_t dims;                      /* number of dimensions; 0 is a scalar */
  size_t shape[SB_TENSOR_MAX_DIMS]; /* in elements, slowest first; of the first dimensions */
  const char *file;                 /* path of the file it is in */
  uint64_t offset;                  /* of its first byte in that file */
  uint64_t bytes; /* product of shape x element size; of an unknown type, as the file says */
  int fd_index;   /* number of the file within the folder, from 0 */
  size_t number;  /* its place in the order of sb_safetensors_at */
  bool moved;     /* the index says that it lies in another file */
  const struct sb_tensor_info *twin; /* the next tensor of this name, in another file, or NULL */
} sb_tensor_info;

#endif
