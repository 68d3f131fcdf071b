/* Small models for targets whose readers need one. The process is a world of one rank. */
#ifndef SB_TESTS_FUZZ_FUZZ_MODEL_H
#define SB_TESTS_FUZZ_FUZZ_MODEL_H

#include <jansson.h>

#include "io/key.h"
#include "model/model.h"
#include "mpi/world.h"
#include "tests/fuzz/target.h"

/* The model all of these are made of, below the source folder. */
#define FUZZ_MODEL "tests/golden/gqa-tied"

/* Starts MPI at the first call; it ends with the process. */
const sb_world *fuzz_world(void);
/* FUZZ_MODEL with mixed widths, in random orders where `mode` is indexed. Freed by the caller. */
sb_model *fuzz_source_model(sb_blocking blocking, sb_reorder mode);
/* The same rounded to nearest; with `tables` the embedding, too. */
sb_model *fuzz_coded_model(sb_blocking blocking, sb_reorder mode, bool tables);
/* Aborts unless the model holds its invariants (model/model_check.h). */
void fuzz_require_valid(const sb_model *model);

/* A key of some entries, that all checkpoints here are made with. */
const sb_key *fuzz_key(void);
/* Parses the cursor's rest as JSON; where it is an object, gives it the format, the version and the
 * key of `like`, which came from a checkpoint that was written here. NULL: no object. */
json_t *fuzz_checkpoint_json(const fuzz_cursor *rest, const json_t *like);
/* Puts `json` (taken over) into a file of fuzz_folder under its checksum (io/seal.h), or where it
 * is NULL the cursor's rest as it is. */
const char *fuzz_put_checkpoint(const char *name, json_t *json, const fuzz_cursor *rest);
/* Puts `json` (taken over), or where it is NULL the cursor's rest, into a file of fuzz_folder. */
const char *fuzz_put_json(const char *name, json_t *json, const fuzz_cursor *rest);

#endif
