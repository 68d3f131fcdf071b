/* `optimizer.safetensors`: the state of AdamW beside a model's weights. safetensors has no standard
 * for it; this is ours. For each tensor NAME of the model, f32 in its shape:
 *
 *   NAME.exp_avg, NAME.exp_avg_sq   the moments m and v (names of torch.optim.AdamW)
 *   NAME.master                     the weights that training changes; left out where the model
 *                                   beside it is f32 and so has them
 *
 * and in the metadata, as text: `format` "shardbits-optimizer", `version` "1", `optimizer` "adamw",
 * `step` of the run, `updates` of AdamW so far (its t; steps that were skipped do not count),
 * `rate` of the last step, `beta1`, `beta2`, `eps`, `weight_decay`, `clip` (0: none), `batch` in
 * sequences and `seqlen` in tokens. tools/convert_optimizer.py makes it from states of other
 * trainers. */
#ifndef SB_TRAIN_OPTIMIZER_FILE_H
#define SB_TRAIN_OPTIMIZER_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "io/safetensors_writer.h"
#include "mpi/world.h"
#include "train/optimizer.h"

#define SB_OPTIMIZER_FILE "optimizer.safetensors"

typedef struct sb_optimizer_info {
  uint64_t step, updates;
  sb_adamw adamw;
  double rate, clip;
  size_t batch, seqlen;
} sb_optimizer_info;

/* Reads what the file says of the run. SB_ERR_FORMAT: no such file, a number that is missing or
 * none; SB_ERR_UNSUPPORTED: another version or optimizer. Local. */
sb_status sb_optimizer_file_info(const char *path, sb_optimizer_info *out);

/* Reads moments, and masters where the file has them (*masters), of what this rank owns; sets
 * optimizer->updates. SB_ERR_FORMAT by name for a tensor that is missing, of another shape, or not
 * f32; SB_ERR_NUMERIC for a moment that is no number or a negative exp_avg_sq. Every rank reads its
 * own rows. Collective; all ranks fail together. */
sb_status sb_optimizer_file_read(const sb_world *world, const char *path, sb_optimizer *optimizer,
                                 bool *masters);

/* The tensors of a file without masters, for io/safetensors_writer.h: moment `part` (0: exp_avg, 1:
 * exp_avg_sq) of tensor i is number part x arch->count + i. */
typedef struct sb_optimizer_specs {
  sb_tensor_spec *specs; /* [2 arch->count] */
  char *names;
} sb_optimizer_specs;
sb_status sb_optimizer_specs_create(const sb_arch *arch,
                                    sb_optimizer_specs *out); /* SB_ERR_MEMORY */
void sb_optimizer_specs_free(sb_optimizer_specs *specs);

/* The metadata of such a file: pairs for io/safetensors_writer.h, which point into `out`. */
enum { SB_OPTIMIZER_PAIRS = 14, SB_OPTIMIZER_TEXT = 32 };
typedef struct sb_optimizer_metadata {
  char text[SB_OPTIMIZER_PAIRS][SB_OPTIMIZER_TEXT];
  const char *pairs[2 * SB_OPTIMIZER_PAIRS + 1];
} sb_optimizer_metadata;
void sb_optimizer_metadata_make(const sb_optimizer_info *info, sb_optimizer_metadata *out);

#endif
