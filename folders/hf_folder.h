/* Writing a Hugging Face folder: tensors in one or several safetensors files with their index, and
 * the small files beside them. All ranks write. The folder appears when it is complete
 * (folders/destination.h); an interrupted or failed run leaves nothing. */
#ifndef SB_FOLDERS_HF_FOLDER_H
#define SB_FOLDERS_HF_FOLDER_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "folders/destination.h"
#include "io/safetensors_writer.h"
#include "model/arch.h"
#include "mpi/world.h"

typedef struct sb_hf_folder sb_hf_folder;

typedef struct sb_hf_folder_setup {
  const sb_world *world;
  const sb_tensor_spec *specs; /* [count] the tensors, in the order of the files */
  size_t count;
  sb_destination *out;   /* begun; hf_folder_make commits it */
  uint64_t file_bytes;   /* most bytes of a file; a larger tensor has a file of its own */
  uint64_t beside_bytes; /* size of large files that `beside` writes: for the check of free space */
  void *context;
  /* Writes this rank's share of the tensors by sb_hf_folder_write; together the ranks write every
   * byte. Local. */
  sb_status (*tensors)(void *context, sb_hf_folder *folder);
  /* Writes config.json and other files beside the tensors into folder `path`, synced. Called on
   * rank 0, before all tensors. Local. */
  sb_status (*beside)(void *context, const char *path);
} sb_hf_folder_setup;

typedef struct sb_hf_folder_stats {
  uint64_t files, bytes; /* of safetensors */
} sb_hf_folder_stats;

/* A tensor of a model as it is written in `dtype`. The name is the model's. Pure. */
sb_tensor_spec sb_hf_folder_spec(const sb_model_tensor *tensor, sb_dtype dtype);

/* Writes the folder; errors of the hooks are passed on, SB_ERR_IO names the file. Collective; all
 * ranks fail together. */
sb_status sb_hf_folder_make(const sb_hf_folder_setup *setup, sb_hf_folder_stats *stats);

/* Writes bytes [offset, offset + bytes) of tensor number `tensor` of the specs. Local;
 * several threads may call. */
sb_status sb_hf_folder_write(sb_hf_folder *folder, size_t tensor, uint64_t offset, size_t bytes,
                             const void *data);

/* Writes rows [first, first + rows) of a tensor of a model, which `data` holds in type `from`, as
 * tensor `spec` of type `to`; weight types. SB_ERR_NUMERIC: sb_hf_folder_range_error. Local. */
sb_status sb_hf_folder_write_as(sb_hf_folder *folder, size_t spec, const sb_model_tensor *tensor,
                                size_t first, size_t rows, const void *data, sb_dtype from,
                                sb_dtype to);

/* Gives a model's configuration (of config.json) the weight type of its files, under both names
 * that transformers has for it, "dtype" and "torch_dtype". Local. */
void sb_hf_folder_set_dtype(json_t *config, sb_dtype dtype);

/* The same for config.json in `folder`, a copy of the source's, which also gets to say what the
 * tensors made of it (sb_companions_restate). SB_ERR_IO, SB_ERR_FORMAT. Local. */
sb_status sb_hf_folder_restate(const char *folder, const sb_config *config, sb_dtype dtype);

/* SB_ERR_NUMERIC: weight [row, col] of `tensor` is finite and beyond the range of `dtype`, the type
 * it is written in. Local. */
sb_status sb_hf_folder_range_error(const sb_model_tensor *tensor, size_t row, size_t col,
                                   double value, sb_dtype dtype);

#endif
