/* The header of a NumPy .npy file, versions 1 to 3: type and shape, and where
 * the data begins. Local. Format: numpy.lib.format. */
#ifndef SB_IO_NPY_H
#define SB_IO_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { SB_NPY_MAX_DIMS = 8, SB_NPY_HEADER = 128 /* bytes of one that is written */ };

typedef struct sb_npy {
  char kind;         /* 'u', 'i', 'f', ... as in NumPy */
  char type[16];     /* the whole type, as "<u2"; cut off where it is longer */
  size_t item_bytes; /* 0 for kinds that are no numbers: text, objects, times */
  bool fortran_order;
  size_t dims;
  size_t shape[SB_NPY_MAX_DIMS];
  uint64_t count;       /* product of shape */
  uint64_t data_offset; /* in the file, bytes */
} sb_npy;

/* True when the file starts as .npy files do. */
bool sb_npy_is(const void *first_bytes, size_t bytes);
/* Parses the header of the open file. Numbers must fill the rest of the file exactly.
 * SB_ERR_FORMAT; SB_ERR_UNSUPPORTED for big-endian and structured arrays. */
sb_status sb_npy_read_header(int fd, const char *path, uint64_t file_bytes, sb_npy *out);
/* header = that of one dimension of `count` unsigned little-endian integers of `width` bytes. Pure.
 */
void sb_npy_header(char header[SB_NPY_HEADER], size_t width, uint64_t count);

#endif
