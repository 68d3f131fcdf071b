/* A profile: what each low precision would cost a training step, measured for every linear layer
 * (`shardbits profile`) and read by the solver (policy/choose.h). Local, plain data.
 *
 * Of a GEMM at a precision it has two numbers, both relative:
 *
 *   loss    divergence of the training loss, over the loss
 *   weight  norm of the change of the optimizer's update over all weights, over the update's norm
 *
 * by two metrics. `exact` multiplies quantization errors with the gradients at hand. `norms` knows
 * Frobenius norms only; it is reconstructed from the public description of SNIP. Losses
 * may be negative where a metric says that the loss would fall; weights, norms and errors are not.
 * None is beyond 1e100.
 *
 *   {"format": "shardbits-profile", "version": 1,
 *    "model": {...}, "step": 2000, "loss": 3.1, "batch": 8, "seqlen": 256,
 *    "combine": "sum" | "squares", "precisions": ["fp8-128", "nvfp4"],
 *    "linears": [{"name", "layer", "rows", "cols",
 *                 "norms": {"x", "w", "y", "dx", "dw", "dy"},
 *                 "precisions": {"nvfp4": {"abs_error", "rel_error",
 *                   "exact": {"fprop": {"loss", "weight"}, "dgrad", "wgrad", "all"},
 *                   "norms": {the same}, "truth": {"loss", "weight"}}}}, ...]}
 *
 * A metric, or the truth, is in all entries or in none. "all" is the divergence of the three GEMMs
 * together. Unknown keys are ignored. */
#ifndef SB_POLICY_PROFILE_FILE_H
#define SB_POLICY_PROFILE_FILE_H

#include <stdbool.h>

#include "base/status.h"
#include "kernels/lowprec.h"
#include "policy/linears.h"

typedef enum sb_metric { SB_METRIC_EXACT, SB_METRIC_NORMS, SB_METRIC_COUNT } sb_metric;
extern const char *const sb_metric_names[]; /* "exact", "norms"; NULL behind the last */

/* How divergences of several linears become that of all. */
typedef enum sb_combine {
  SB_COMBINE_SUM,    /* they are added */
  SB_COMBINE_SQUARES /* as independent errors: the root of the sum of squares */
} sb_combine;
extern const char *const sb_combine_names[]; /* "sum", "squares"; NULL behind the last */

typedef struct sb_divergence {
  double loss, weight;
} sb_divergence;

/* Parts of an entry: a GEMM each, and the three together. */
enum { SB_PART_ALL = SB_GEMM_KINDS, SB_PARTS };

/* One linear at one precision. */
typedef struct sb_profile_entry {
  double abs_error; /* norm of the quantization error of its operands */
  double rel_error; /* over the norm of the operands */
  sb_divergence parts[SB_METRIC_COUNT][SB_PARTS];
  sb_divergence truth; /* measured by quantizing this linear alone for one step */
} sb_profile_entry;

/* Frobenius norms of a linear's operands and results. */
typedef struct sb_profile_norms {
  double x, w, y, dx, dw, dy;
} sb_profile_norms;

typedef struct sb_profile {
  sb_linears model;
  uint64_t step; /* of the optimizer, when it was measured */
  double loss;   /* of the high precision, nats per token */
  size_t batch, seqlen;
  sb_combine combine;
  bool has_metric[SB_METRIC_COUNT], has_truth;
  size_t precision_count;
  sb_precision precisions[SB_PRECISION_COUNT]; /* low ones, each once */
  sb_profile_norms *norms;                     /* [linears] */
  sb_profile_entry *entries;                   /* [linears, precision_count] */
} sb_profile;

/* *out = an empty profile (all zero) of these linears, which are copied, for `count` low
 * precisions. Release with sb_profile_free. SB_ERR_MEMORY. */
sb_status sb_profile_create(const sb_linears *model, const sb_precision *precisions, size_t count,
                            sb_profile *out);
void sb_profile_free(sb_profile *profile);

/* The entry of a linear for the p-th of the profile's precisions. */
static inline sb_profile_entry *sb_profile_at(const sb_profile *profile, size_t linear, size_t p) {
  return &profile->entries[linear * profile->precision_count + p];
}
/* Which of its precisions one is; SB_NONE where it was not measured. O(precisions). */
size_t sb_profile_find(const sb_profile *profile, sb_precision precision);

/* SB_ERR_FORMAT names the file, the linear and the key; SB_ERR_UNSUPPORTED for a newer version.
 * O(linears precisions). */
sb_status sb_profile_read(const char *path, sb_profile *out);
/* The same for a parsed object: what a file with this content gives. */
sb_status sb_profile_parse(const char *path, const json_t *object, sb_profile *out);
/* *out = the object that a file at `path` would hold. SB_ERR_NUMERIC as below; *out is released
 * with json_decref, also after a failure. */
sb_status sb_profile_describe(const char *path, const sb_profile *profile, json_t **out);
/* Complete or not at all. SB_ERR_NUMERIC, naming linear and precision, for a number that is not
 * finite; SB_ERR_IO. */
sb_status sb_profile_write(const char *path, const sb_profile *profile);

#endif
