/* A Hugging Face folder, opened for reading: its configuration, and where each tensor of its
 * architecture is stored.
 *
 * What is stored counts, not what a flag says of it: an LM head that differs from the embedding is
 * used though config.json ties them, types are those of the files, biases that are zero are none.
 * Refused: biases that are not zero, layers beyond num_hidden_layers, copies of a tensor that
 * differ. What has no place in the architecture is ignored, and said (sb_hf_source_tell). */
#ifndef SB_FOLDERS_HF_SOURCE_H
#define SB_FOLDERS_HF_SOURCE_H

#include <stdbool.h>

#include "folders/stored_names.h"
#include "io/safetensors.h"
#include "model/arch.h"
#include "mpi/world.h"

typedef struct sb_hf_source {
  const char *folder;
  sb_config config; /* as the tensors make it (sb_config_restate) */
  sb_arch arch;
  sb_safetensors *weights;
  sb_stored_names names;
  const sb_tensor_info **tensors; /* [arch.count] */
  bool *used;         /* [sb_safetensors_count] it has a place, or is known to be none */
  size_t ignored;     /* those that are not used */
  size_t relabelled;  /* matrices of another type than config.json says */
  bool untied;        /* config.json ties the LM head, which is stored and differs */
  char **other_files; /* [other_count] safetensors files of the folder that are not read */
  size_t other_count; /* on rank 0 */
} sb_hf_source;

/* Opens `folder` and holds what is stored against its configuration. SB_ERR_IO, SB_ERR_FORMAT,
 * SB_ERR_UNSUPPORTED; an output folder, a file or the root of a cache is refused with what would do
 * (folders/hf_path.h). Every rank reads headers; biases are read by rank 0, an LM head that may be
 * the embedding's copy by all ranks together. O(stored tensors). Collective; all ranks fail
 * together. Release with sb_hf_source_close, also after a failure. */
sb_status sb_hf_source_open(const sb_world *world, const char *folder, sb_hf_source *out);
void sb_hf_source_close(sb_hf_source *source);

/* Lines in the log (base/log.h): what is ignored, counted in one line, and what is used although
 * config.json says otherwise. Local. */
void sb_hf_source_tell(const sb_hf_source *source);

#endif
