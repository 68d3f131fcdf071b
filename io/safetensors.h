/* Reading safetensors: a single file, or a Hugging Face folder (io/weight_files.h). Only headers
 * are read at opening; tensors are read in byte ranges with pread, so that each rank takes just the
 * rows it owns. All functions are local; an open reader may be read from several threads.
 *
 * Format: 8 bytes little-endian header length N, N bytes of JSON {name: {dtype, shape,
 * data_offsets}}, then the data. What the header says must tile the data exactly; each refusal
 * names file, tensor and numbers. What may be of no use is no reason to refuse: types that are not
 * known, a tensor in several files, an index that names tensors or shards that are not there, or
 * another shard than the one a tensor is in. The caller learns of it. */
#ifndef SB_IO_SAFETENSORS_H
#define SB_IO_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "io/tensor_info.h"

typedef struct sb_safetensors sb_safetensors;

/* Opens and validates everything but the values. SB_ERR_IO, SB_ERR_FORMAT;
 * SB_ERR_UNSUPPORTED for a folder without safetensors. O(n) in the number of tensors and
 * entries of the index where headers are in the order of the data, which they are as a rule; else
 * O(n log n). Close with sb_safetensors_close. */
sb_status sb_safetensors_open(const char *path, sb_safetensors **out);
/* Also frees every sb_tensor_info. Sets *reader to NULL; a NULL *reader is fine. */
void sb_safetensors_close(sb_safetensors **reader);

/* Tensors, in the order they lie on disk: files by name, then by offset. */
size_t sb_safetensors_count(const sb_safetensors *reader);
const sb_tensor_info *sb_safetensors_at(const sb_safetensors *reader, size_t i);
/* NULL when no tensor has that name; the first where several files have it (sb_tensor_info.twin).
 * O(1). */
const sb_tensor_info *sb_safetensors_find(const sb_safetensors *reader, const char *name);
/* An entry of the index for a tensor that no file has. */
typedef struct sb_stale_entry {
  const char *tensor, *file; /* as the index has them */
  bool file_missing;         /* else the file is there, without the tensor */
} sb_stale_entry;
const sb_stale_entry *sb_safetensors_stale(const sb_safetensors *reader, size_t *count);
/* How many of them; tensors in another file than the index says; tensors of a name that another
 * file has too. */
typedef struct sb_safetensors_oddities {
  size_t stale, moved, doubled;
} sb_safetensors_oddities;
sb_safetensors_oddities sb_safetensors_odd(const sb_safetensors *reader);
/* The line for a tensor that is needed and not there, where the index says which shard should have
 * it (SB_ERR_IO, SB_ERR_FORMAT); SB_OK where it says nothing. O(stale entries). */
sb_status sb_safetensors_lacks(const sb_safetensors *reader, const char *name);
/* The safetensors files beside those that are read (io/weight_files.h, sb_weight_files_others). */
sb_status sb_safetensors_other_files(const sb_safetensors *reader, char ***names, size_t *count);
/* Sum of all tensors' bytes. */
uint64_t sb_safetensors_total_bytes(const sb_safetensors *reader);

/* Reads bytes [byte_offset, byte_offset + bytes) of the tensor. SB_ERR_INTERNAL when that is not
 * inside the tensor. */
sb_status sb_safetensors_read(const sb_safetensors *reader, const sb_tensor_info *info,
                              uint64_t byte_offset, size_t bytes, void *dst);

/* SB_OK for F32, F16 and BF16; else SB_ERR_UNSUPPORTED naming file, tensor, its type and the types
 * that are read. */
sb_status sb_safetensors_require_weight(const sb_tensor_info *info);

#endif
