/* Writing one safetensors file, by one process or by several that each write disjoint byte ranges.
 *
 * The layout follows from the specifications alone: one process creates the file at its full size,
 * others join it with the same specifications, all write, all finish. Tensors are laid out by
 * falling element size (so that each is aligned to its type), then in the order given; the header
 * is padded with spaces to a multiple of 8 bytes. All functions are local; that every process joins
 * after the creation and before the file is used is the caller's to arrange. */
#ifndef SB_IO_SAFETENSORS_WRITER_H
#define SB_IO_SAFETENSORS_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "io/tensor_info.h"

typedef struct sb_tensor_spec {
  const char *name;
  sb_dtype dtype;
  size_t dims;
  size_t shape[SB_TENSOR_MAX_DIMS];
} sb_tensor_spec;

typedef struct sb_safetensors_writer sb_safetensors_writer;

/* Creates (or empties) the file, sizes it, so that a full disk is found now, and writes the header.
 * `metadata` is NULL or key, value, key, value, ..., NULL ("format", "pt" is what transformers
 * looks for). Specs are not kept. On failure the file is removed. */
sb_status sb_safetensors_writer_create(const char *path, const sb_tensor_spec *specs, size_t count,
                                       const char *const *metadata, sb_safetensors_writer **out);
/* Opens the file another process has created with equal specs and metadata. */
sb_status sb_safetensors_writer_join(const char *path, const sb_tensor_spec *specs, size_t count,
                                     const char *const *metadata, sb_safetensors_writer **out);
/* Writes bytes [byte_offset, byte_offset + bytes) of tensor `index` (its place in specs).
 * SB_ERR_INTERNAL when that is not inside the tensor. May be called by several threads. */
sb_status sb_safetensors_writer_write(sb_safetensors_writer *writer, size_t index,
                                      uint64_t byte_offset, size_t bytes, const void *src);
/* Size of the whole file. */
uint64_t sb_safetensors_writer_bytes(const sb_safetensors_writer *writer);
/* Brings this process' writes to the disk and closes the file; no write may follow. */
sb_status sb_safetensors_writer_finish(sb_safetensors_writer *writer);
/* Releases the writer, after finish or instead of it (the file is then left as it is).
 * Sets *writer to NULL. */
void sb_safetensors_writer_free(sb_safetensors_writer **writer);

#endif
