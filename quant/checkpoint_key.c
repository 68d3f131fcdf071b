#include "quant/checkpoint_key.h"

#include <xxhash.h>

#include "kernels/code_kind.h"
#include "pass/fingerprint.h"

/* Of grids as older checkpoints have it. */
static const char *kind_of(sb_code_kind kind) {
  return kind == SB_GRID_ASYMMETRIC  ? "asymmetric"
         : kind == SB_GRID_SYMMETRIC ? "symmetric"
                                     : sb_code_kind_names[kind];
}

void sb_checkpoint_key_begin(sb_key *key, const sb_model *m, const sb_backend *b) {
  *key = (sb_key){0};
  sb_key_add(key, "program", "program version", "%s", SB_VERSION);
  sb_key_add(key, "device", "--device", "%s", b->name);
  sb_key_add(key, "compute", "--compute", "%s", b->operand == SB_BF16 ? "bf16" : "f32");
  sb_key_add(key, "block", "block size (--block)", "%zux%zu", m->blocking.rows, m->blocking.cols);
  sb_key_add(key, "symmetry",
             "kind of codes (--codes, --trellis-states, --grid-kind, --scale-type)", "%s",
             kind_of(m->blocking.code_kind));
}

sb_status sb_checkpoint_key_add_model(sb_key *key, const char *name, const char *meaning,
                                      sb_model *model) {
  uint64_t fingerprint;
  SB_TRY(sb_model_fingerprint(model, &fingerprint));
  sb_key_add_hash(key, name, meaning, fingerprint);
  return SB_OK;
}

sb_status sb_checkpoint_key_add_tokens(sb_key *key, const char *name, const char *meaning,
                                       const sb_world *world, const sb_sequences *sequences) {
  uint64_t fingerprint = 0;
  if (sequences) SB_TRY(sb_sequences_fingerprint(world, sequences, &fingerprint));
  sb_key_add_hash(key, name, meaning, fingerprint);
  return SB_OK;
}

void sb_checkpoint_key_add_tables(sb_key *key, const sb_model *m) {
  sb_key_add_hash(key, "tables",
                  "choice of widths of embedding and LM head (--size, --embed-bits, --head-bits)",
                  XXH64(m->bits + m->blocks, m->all_blocks - m->blocks, 0));
}
