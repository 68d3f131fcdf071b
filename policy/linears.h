/* The linear layers that a precision is chosen for: the matrices of the decoder layers, in the
 * order of the architecture's table. A profile and a policy both begin with them, so that neither
 * is used on another model. Local, plain data.
 *
 * The three GEMMs of a linear (output, input gradient, weight gradient) take the same number of
 * FLOPs, 2 rows cols per token. So rows x cols is the work of a linear, in one unit for all. */
#ifndef SB_POLICY_LINEARS_H
#define SB_POLICY_LINEARS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "model/arch.h"

typedef struct sb_linear {
  char name[96]; /* of the module: "model.layers.0.self_attn.q_proj" */
  size_t layer;
  size_t rows, cols; /* outputs, inputs */
} sb_linear;

typedef struct sb_linears {
  char architecture[48]; /* "LlamaForCausalLM" */
  size_t layers, hidden, intermediate, vocab;
  size_t count;
  sb_linear *linears; /* [count], ascending in layer */
} sb_linears;

/* *out = those of an architecture. Release with sb_linears_free. SB_ERR_MEMORY. O(matrices). */
sb_status sb_linears_of(const sb_arch *arch, sb_linears *out);
/* A copy of its own memory. SB_ERR_MEMORY. */
sb_status sb_linears_copy(const sb_linears *from, sb_linears *out);
void sb_linears_free(sb_linears *linears);
/* SB_ERR_FORMAT, "PATH: made for another model: ..." with the first difference, unless `file` (read
 * from `path`) equals `model`. O(linears). */
sb_status sb_linears_check(const char *path, const sb_linears *file, const sb_linears *model);

/* What a linear is in its layer: the last part of its name, "q_proj". Borrowed. */
const char *sb_linear_kind(const sb_linear *linear);
/* rows x cols: the multiply-adds of one GEMM per token. The sum over a model is at most 2^56. */
static inline uint64_t sb_linear_work(const sb_linear *linear) {
  return (uint64_t)linear->rows * linear->cols;
}

/* As JSON: "model" is
 *   {"architecture", "layers", "hidden", "intermediate", "vocab", "linears": number of them}
 * and an entry of "linears" begins {"name", "layer", "rows", "cols"}. NULL where memory ends. */
json_t *sb_linears_describe(const sb_linears *linears);
json_t *sb_linear_describe(const sb_linear *linear);
/* Reads "model" and "linears" of an object. *entries = the array, borrowed: entry i has what else
 * is known of linear i. Refused are sizes outside base/limits.h, layers out of order, and names
 * that are empty, too long, or occur twice: SB_ERR_FORMAT. Release with sb_linears_free.
 * O(linears). */
sb_status sb_linears_parse(const char *path, const json_t *object, sb_linears *out,
                           json_t **entries);

#endif
