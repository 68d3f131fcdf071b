/* manifest.json: the content of an output folder and the shard files that belong to it.
 * docs/format.md explains every key.
 *
 * The manifest is written last, so a folder with a manifest is whole. The rooms above rebuild the
 * network from `model`; here it is passed through unread. A reader ignores unknown keys, so a
 * change of meaning must raise the format version. All functions are local. */
#ifndef SB_IO_MANIFEST_H
#define SB_IO_MANIFEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "io/tensor_info.h" /* SB_TENSOR_MAX_DIMS */

#define SB_MANIFEST_NAME "manifest.json"

/* The newest format that this program reads. A folder is written as the oldest one that has all
 * that is in it: 1, 2 where there are orders, 3 where codes are no grids', or tensors name their
 * own. */
enum { SB_FORMAT_VERSION = 4 };

/* RAW: as in the source. QUANTIZED: packed block rows. ORDER: a vector, the places in the source of
 * the rows or columns of quantized tensors. */
typedef enum sb_tensor_kind { SB_TENSOR_RAW, SB_TENSOR_QUANTIZED, SB_TENSOR_ORDER } sb_tensor_kind;

/* A tensor; its index in sb_manifest.tensors is the `tensor` key of its frames. */
typedef struct sb_manifest_tensor {
  char *name;
  sb_dtype dtype; /* of the source */
  size_t dims;
  size_t shape[SB_TENSOR_MAX_DIMS]; /* elements */
  sb_tensor_kind kind;
  size_t frames;               /* block rows, numbered from 0; see sb_manifest_frames */
  size_t row_order, col_order; /* of a quantized one: 1 + the tensor that holds its order; 0: rows
                                  or columns are in place */
  char *codes;        /* of a quantized one: name of its own kind of codes, which are grids;
                         NULL: as the folder's */
  uint64_t col_signs; /* of a quantized one whose codes are no grids' */
} sb_manifest_tensor;

typedef struct sb_manifest_shard {
  char *file; /* name in the folder */
  uint64_t bytes, frames, index_checksum;
} sb_manifest_shard;

/* How grids lay their levels, and what their scales are (docs/format.md). Names end
 * with NULL. */
typedef enum sb_manifest_symmetry {
  SB_MANIFEST_ASYMMETRIC,
  SB_MANIFEST_SYMMETRIC,
  SB_MANIFEST_SIGNED,
  SB_MANIFEST_BY_WIDTH
} sb_manifest_symmetry;
typedef enum sb_manifest_scales {
  SB_MANIFEST_FP16,
  SB_MANIFEST_BF16,
  SB_MANIFEST_6BIT
} sb_manifest_scales;
extern const char *const sb_manifest_symmetry_names[];
extern const char *const sb_manifest_scales_names[];

/* Strings, arrays and `model` are owned (malloc, json_incref); zero-initialise,
 * fill, release with sb_manifest_free. */
typedef struct sb_manifest {
  uint64_t version; /* of the format, as it was read; writing chooses it */
  char *program_version;
  json_t *model;                 /* opaque object */
  size_t block_rows, block_cols; /* elements */
  char *codes;                   /* name of a kind of codes other than grids; NULL: grids */
  sb_manifest_symmetry symmetry; /* of grids */
  sb_manifest_scales scales;     /* of grids */
  sb_manifest_tensor *tensors;
  size_t tensor_count;
  sb_manifest_shard *shards;
  size_t shard_count;
  double effective_bits, code_bits; /* per weight of the quantized tensors */
  uint64_t stored_bytes;            /* sum of the shards' sizes */
  uint64_t content_hash;            /* sb_shard_content_hash of the shards */
} sb_manifest;

/* Frames of a tensor of this shape: its first dimension in steps of block_rows for two or more
 * dimensions, 1 for a scalar or a vector. */
size_t sb_manifest_frames(size_t dims, const size_t *shape, size_t block_rows);

/* Allocates tensors and shards (zeroed) of the given numbers. */
sb_status sb_manifest_allocate(sb_manifest *manifest, size_t tensors, size_t shards);
/* Reads and validates folder/manifest.json; the caller judges the names of codes. SB_ERR_IO when
 * it is missing, SB_ERR_FORMAT, SB_ERR_UNSUPPORTED for a newer format. On failure *out is empty. */
sb_status sb_manifest_read(const char *folder, sb_manifest *out);
/* Validates and writes folder/manifest.json atomically; program_version
 * NULL writes this program's. */
sb_status sb_manifest_write(const char *folder, const sb_manifest *manifest);
void sb_manifest_free(sb_manifest *manifest);

#endif
