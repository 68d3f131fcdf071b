/* Who else is to read a quantized model, and what that leaves to choose: which matrices share a
 * width, which widths there are, how long groups may be, what levels and scales are like. Read in
 * the sources of vLLM 0.33, SGLang, GPTQModel 7.7, mlx-lm 0.32 and exllamav3 1.4.1. */
#ifndef SB_MODEL_WIDTH_RULES_H
#define SB_MODEL_WIDTH_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/shared/grid_types.h"
#include "model/arch.h"
#include "model/effective_bits.h"
#include "model/model.h"

typedef enum sb_widths_for {
  SB_WIDTHS_FOR_ANY, /* this program, which takes all */
  SB_WIDTHS_FOR_EXL3,
  SB_WIDTHS_FOR_VLLM,
  SB_WIDTHS_FOR_SGLANG,
  SB_WIDTHS_FOR_GPTQ,
  SB_WIDTHS_FOR_MLX,
  SB_WIDTHS_FOR_COUNT
} sb_widths_for;
extern const char *const sb_widths_for_names[]; /* NULL behind the last */

/* A set of widths: bit b is set where b bits are in it. */
typedef uint16_t sb_width_set;
/* The widths `least` to `most`. */
static inline sb_width_set sb_width_range(unsigned least, unsigned most) {
  return (sb_width_set)((2u << most) - (1u << least));
}
/* The smallest width of a set that is at least `bits`, the largest that is at most `bits`; 0 where
 * there is none. */
unsigned sb_width_at_least(sb_width_set set, unsigned bits);
unsigned sb_width_at_most(sb_width_set set, unsigned bits);
/* "2, 3, 4, 8". text has SB_WIDTH_SET_TEXT bytes. */
enum { SB_WIDTH_SET_TEXT = 32 };
void sb_width_set_text(sb_width_set set, char *text);

enum { SB_GROUP_LENGTHS = 4 };

typedef struct sb_width_rules {
  sb_width_scope scope;     /* what shares a width, at least */
  sb_width_set widths;      /* of the layers' matrices */
  sb_width_set head, embed; /* of LM head and embedding, each with one width; 0: as they are. Tied
                               ones need both */
  size_t groups[SB_GROUP_LENGTHS]; /* lengths of a group, longest first; 0s behind; none: any */
  bool asymmetric, symmetric, signed_levels; /* of grids; none of them: trellis codes of EXL3 */
  bool parts; /* a rank of a tensor-parallel server holds whole groups and whole rows */
  size_t rank_rows, rank_cols; /* what sides of a matrix on a rank are multiples of, rows after
                                  fusing; 0: any */
} sb_width_rules;

/* Pure; a constant. */
const sb_width_rules *sb_width_rules_for(sb_widths_for reader);
/* The levels that a reader takes where none are asked for, and whether it takes `levels`
 * (sb_grid_levels). Pure. */
bool sb_width_rules_take(const sb_width_rules *rules, sb_code_kind levels);

/* Whether groups of `length` weights fit all matrices of the layers on `parallel` ranks of a
 * server: each divides the inputs of its matrix, and of what is cut along its inputs (o, down) the
 * part of a rank; and whether sides are such as the reader's kernel takes. SB_ERR_UNSUPPORTED names
 * the first that does not fit, and the option to change. Pure. O(matrices). */
sb_status sb_width_rules_check_group(const sb_width_rules *rules, const sb_arch *arch,
                                     size_t length, size_t parallel);
/* The longest legal group; 0 where none fits. Pure. O(matrices). */
size_t sb_width_rules_group(const sb_width_rules *rules, const sb_arch *arch, size_t parallel);
/* The most ranks, a power of two, among which a tensor-parallel server can divide matrices with
 * groups of `length`; query and key-value heads are divided too. At least 1. Pure. */
size_t sb_width_rules_parallel(const sb_width_rules *rules, const sb_arch *arch, size_t length);

/* What of a quantized model readers ask for. Of a matrix: the set of its blocks' widths, in which
 * bit 0 stands for blocks in source precision. */
typedef struct sb_widths_used {
  const sb_arch *arch;
  sb_blocking blocking;
  sb_reorder order;
  const sb_width_set *matrices;   /* [arch->matrix_count] */
  sb_width_set tables[SB_TABLES]; /* embedding, LM head; 0: in source precision, or tied */
} sb_widths_used;

/* Whether a reader takes it: SB_OK, or SB_ERR_UNSUPPORTED with the first matrix that it does not
 * take, why, and the option of quantize that changes it. Pure. O(matrices). */
sb_status sb_width_rules_check_used(const sb_widths_used *used, sb_widths_for reader);
/* The same of a model as it is; also SB_ERR_MEMORY. Local, equal on all ranks. O(blocks). */
sb_status sb_width_rules_check(const sb_model *model, sb_widths_for reader);

#endif
