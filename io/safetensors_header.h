/* The header of one safetensors file: parsed and validated. Used by io/safetensors.c. Local. */
#ifndef SB_IO_SAFETENSORS_HEADER_H
#define SB_IO_SAFETENSORS_HEADER_H

#include <jansson.h>

#include "base/status.h"
#include "io/tensor_info.h"

/* Tensors of the open file `fd`, sorted by offset; `file` of each is `path` (borrowed), names lie
 * in *text. The regions are disjoint, without gaps, and end where the file ends. A type that is not
 * known is no error, nor is anything in __metadata__. Names may occur twice. O(n) for a file whose
 * header is in the order of its data, else O(n log n). Release both with sb_free, also after a
 * failure. */
sb_status sb_safetensors_header_read(int fd, const char *path, uint64_t file_bytes,
                                     sb_tensor_info **tensors, size_t *count, char **text);

/* *out = __metadata__ of the file as an object of strings; members of other types are left out, and
 * a file without metadata has an empty one. The caller releases it with json_decref. SB_ERR_IO;
 * SB_ERR_FORMAT where the header is no JSON object. */
sb_status sb_safetensors_metadata_read(const char *path, json_t **out);

#endif
