/* A policy: the precision of every GEMM of every linear layer. It is what the solver writes
 * (policy/choose.h), what `train` reads, and what exports translate. Local, plain data.
 *
 *   {"format": "shardbits-policy", "version": 1,
 *    "model": {...}, "share": {"fp4": 0.75, "fp8": 0.25},
 *    "linears": [{"name", "layer", "rows", "cols",
 *                 "fprop": "nvfp4", "dgrad": "nvfp4", "wgrad": "nvfp4"}, ...],
 *    "method", "target", "predicted", "certificate", "profile"}
 *
 * The last line says how the policy was made (sb_policy.about). Readers keep it and other keys as
 * they are, and count `share` for themselves: a policy written by hand needs model and linears
 * alone. */
#ifndef SB_POLICY_POLICY_FILE_H
#define SB_POLICY_POLICY_FILE_H

#include "base/status.h"
#include "kernels/lowprec.h"
#include "policy/linears.h"

#define SB_POLICY_FORMAT "shardbits-policy"

typedef struct sb_policy_choice {
  sb_precision gemm[SB_GEMM_KINDS];
} sb_policy_choice;

typedef struct sb_policy {
  sb_linears model;
  sb_policy_choice *choices; /* [linears] */
  json_t *about;             /* members that are written behind the others; owned, or NULL */
} sb_policy;

/* *out = the policy that keeps all of these linears high; they are copied. Release with
 * sb_policy_free. SB_ERR_MEMORY. */
sb_status sb_policy_create(const sb_linears *model, sb_policy *out);
void sb_policy_free(sb_policy *policy);

/* Whether the three GEMMs of a linear have one precision. */
static inline bool sb_policy_choice_is_uniform(const sb_policy_choice *choice) {
  return choice->gemm[SB_FPROP] == choice->gemm[SB_DGRAD] &&
         choice->gemm[SB_FPROP] == choice->gemm[SB_WGRAD];
}
/* Share of the FLOPs of all linears' GEMMs at precisions of so many bits (4, 8, 16). O(linears). */
double sb_policy_share(const sb_policy *policy, unsigned bits);

/* SB_ERR_FORMAT names the file, the linear and the key; a precision that is not known is named
 * beside those that are. SB_ERR_UNSUPPORTED for a newer version. O(linears). */
sb_status sb_policy_read(const char *path, sb_policy *out);
/* The same for a parsed object. */
sb_status sb_policy_parse(const char *path, const json_t *object, sb_policy *out);
/* Complete or not at all. SB_ERR_IO. */
sb_status sb_policy_write(const char *path, const sb_policy *policy);

/* *out = the precision called `text`. SB_ERR_FORMAT, "PATH: WHERE: TEXT is no precision; known are
 * ...". */
sb_status sb_policy_parse_precision(const char *path, const char *where, const char *text,
                                    sb_precision *out);
/* The format and version of an object: "shardbits-policy", say. SB_ERR_FORMAT, saying
 * where such files come from (`source`: "shardbits policy makes"), for another; SB_ERR_UNSUPPORTED
 * for a newer version. Shared by the files of this room. */
sb_status sb_policy_check_format(const char *path, const json_t *object, const char *format,
                                 const char *source);

#endif
