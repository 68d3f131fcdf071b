/* Writing a Hugging Face folder: the tensors of an architecture in one or several safetensors files
 * with their index, and the small files beside them. All ranks write. The folder appears when it is
 * complete (io/outdir.h); an interrupted or failed run leaves nothing (base/cleanup.h). */
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
  const sb_dtype *dtypes; /* [arch->count] weight type in which each tensor is written */
  const char *path;       /* must not exist unless `overwrite` (io/outdir.h) */
  uint64_t file_bytes;    /* most bytes of a file; a larger tensor has a file of its own */
  bool overwrite;
  uint64_t beside_bytes; /* size of large files that `beside` writes: for the check of free space */
  void *context;
  /* Writes this rank's share of the tensors by sb_hf_folder_write; together the ranks write every
   * byte. Local. */
  sb_status (*tensors)(void *context, sb_hf_folder *folder);
  /* Writes config.json and other small files into `path`, synced. Called on rank 0, after all
   * tensors. Registers names that folders/companions.h does not have for removal first. Local. */
  sb_status (*beside)(void *context, const char *path);
} sb_hf_folder_setup;

typedef struct sb_hf_folder_stats {
  uint64_t files, bytes; /* of safetensors */
} sb_hf_folder_stats;

/* Writes the folder; errors of the hooks are passed on, SB_ERR_IO names the file. Collective; all
 * ranks fail together. */
sb_status sb_hf_folder_make(const sb_hf_folder_setup *setup, sb_hf_folder_stats *stats);

/* Writes bytes [offset, offset + bytes) of arch->tensors[tensor]. Local;
 * several threads may call. */
sb_status sb_hf_folder_write(sb_hf_folder *folder, size_t tensor, uint64_t offset, size_t bytes,
                             const void *data);

/* The name of a weight type in config.json: "float32", "float16", "bfloat16". */
const char *sb_hf_folder_dtype_name(sb_dtype dtype);

#endif
