/* `inspect` describes a model's folder or an output folder. Collective; every rank
 * returns the same status. */
#ifndef SB_CLI_INSPECT_H
#define SB_CLI_INSPECT_H

#include <jansson.h>
#include <stdio.h>

#include "folders/hf_source.h"
#include "folders/output_sizes.h"
#include "mpi/world.h"

typedef struct sb_inspect_request {
  const char *path;
  size_t block[2]; /* rows, columns */
  bool check;      /* read all weights */
} sb_inspect_request;

/* Print a table to `out` and add figures to `report`; either may be NULL. */
sb_status sb_inspect_model(const sb_world *world, const sb_inspect_request *request, FILE *out,
                           json_t *report);
/* The part of it about what the folder has and the model has not: stored tensors without a place,
 * entries of an index and files that are of no use. Local. */
void sb_inspect_ignored(const sb_hf_source *source, FILE *out, json_t *report);
/* The part about who else takes it (model/width_rules.h): a line each, and report["readers"]. Of a
 * model, what quantize --widths-for would choose; of an output folder, `tensors` as measured
 * (sb_output_measure), whether it is legal and why not. Local. Errors as sb_output_describe. */
void sb_inspect_readers_of_model(const sb_arch *arch, FILE *out, json_t *report);
sb_status sb_inspect_readers_of_output(const char *path, const sb_shardset *shards,
                                       const sb_output_tensor *tensors, FILE *out, json_t *report);
sb_status sb_inspect_output(const sb_world *world, const sb_inspect_request *request, FILE *out,
                            json_t *report);

#endif
