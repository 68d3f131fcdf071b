/* A tensor of a safetensors file, as its header describes it. */
#ifndef SB_IO_TENSOR_INFO_H
#define SB_IO_TENSOR_INFO_H

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"

enum { SB_TENSOR_MAX_DIMS = 8 };

typedef struct sb_tensor_info {
  const char *name;
  sb_dtype dtype;
  size_t dims;                      /* number of dimensions; 0 is a scalar */
  size_t shape[SB_TENSOR_MAX_DIMS]; /* in elements, slowest first */
  const char *file;                 /* path of the file it is in */
  uint64_t offset;                  /* of its first byte in that file */
  uint64_t bytes;                   /* product of shape x element size */
  int fd_index;                     /* number of the file within the folder, from 0 */
} sb_tensor_info;

#endif
