/* Writing a Hugging Face folder: the tensors of an architecture in one or several safetensors files
 * with their index, beside whatever else belongs there. All ranks write; the folder appears when it
 * is complete (io/outdir.h), and an interrupted or failed run leaves nothing of it
 * (base/cleanup.h). */
#ifndef SB_FOLDERS_HF_FOLDER_H
#define SB_FOLDERS_HF_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "model/arch.h"
#include "mpi/world.h"

typedef struct sb_hf_folder sb_hf_folder;

typedef struct sb_hf_folder_setup {
  const sb_world *world;
  const sb_arch *arch;
  const sb_dtype *dtypes; /* [arch->count] in which each tensor is written: weight types */
  const char *path;       /* must not exist unless `overwrite` (io/outdir.h) */
  uint64_t file_bytes;    /* most that a file holds; a larger tensor has its own */
  bool overwrite;
  uint64_t beside_bytes; /* of large files that `beside` writes, for the check of free space */
  void *context;
  /* This rank's share of the tensors, by sb_hf_folder_write. Together all ranks write every byte.
   * Local. */
  sb_status (*tensors)(void *context, sb_hf_folder *folder);
  /* On rank 0, when all tensors are written: config.json and other small files of `path`, synced.
   * Names besides those of folders/companions.h are registered for removal first. Local. */
  sb_status (*beside)(void *context, const char *path);
} sb_hf_folder_setup;

typedef struct sb_hf_folder_stats {
  uint64_t files, bytes; /* of safetensors */
} sb_hf_folder_stats;

/* Collective; all ranks fail together. */
sb_status sb_hf_folder_make(const sb_hf_folder_setup *setup, sb_hf_folder_stats *stats);

/* Bytes [offset, offset + bytes) of a tensor (its place in arch->tensors). Local, several threads
 * may call. */
sb_status sb_hf_folder_write(sb_hf_folder *folder, size_t tensor, uint64_t offset, size_t bytes,
                             const void *data);

/* "float32", "float16", "bfloat16": how config.json calls a weight type. */
const char *sb_hf_folder_dtype_name(sb_dtype dtype);

#endif
