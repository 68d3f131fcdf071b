/* The header of one safetensors file: parsed and validated. Used by io/safetensors.c. Local. */
#ifndef SB_IO_SAFETENSORS_HEADER_H
#define SB_IO_SAFETENSORS_HEADER_H

#include "base/status.h"
#include "io/tensor_info.h"

/* Tensors of the open file `fd`, sorted by offset; `file` of each is `path`
 * (borrowed), names are owned. The regions are disjoint, without gaps, and end where
 * the file ends. Release with sb_safetensors_header_free. */
sb_status sb_safetensors_header_read(int fd, const char *path, uint64_t file_bytes,
                                     sb_tensor_info **tensors, size_t *count);
void sb_safetensors_header_free(sb_tensor_info **tensors, size_t count);

#endif
