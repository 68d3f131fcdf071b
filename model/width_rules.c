#include "model/width_rules.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/code_kind.h"
#include "kernels/shared/code_traits.h"
#include "model/exl3.h"
#include "model/ties.h"

const char *const sb_widths_for_names[] = {
    [SB_WIDTHS_FOR_ANY] = "any",       [SB_WIDTHS_FOR_EXL3] = "exl3", [SB_WIDTHS_FOR_VLLM] = "vllm",
    [SB_WIDTHS_FOR_SGLANG] = "sglang", [SB_WIDTHS_FOR_GPTQ] = "gptq", [SB_WIDTHS_FOR_MLX] = "mlx",
    [SB_WIDTHS_FOR_COUNT] = NULL};

enum {
  ALL = 0x1fe, /* 1 to 8 */
  TO_8 = 0x1fc,
  W4_8 = 1 << 4 | 1 << 8,
  W2_3_4_8 = 1 << 2 | 1 << 3 | W4_8,
  WITHOUT_7 = TO_8 & ~(1 << 7)
};

/* vLLM: CompressedTensorsWNA16, kernels Humming (2 to 8 bits) and Marlin, whose groups these are.
 * SGLang 0.5.23: the scheme of the same name has 4 and 8 bits alone; zero points at 8 bits have no
 * kernel. That is Marlin's, written for outputs in 64s and inputs in 128s. GPTQModel: packers of 2,
 * 3, 4 and 8 bits; `dynamic` gives each module its own. MLX: quantized_matmul; modules are loaded
 * one by one. */
static const sb_width_rules all_rules[SB_WIDTHS_FOR_COUNT] = {
    [SB_WIDTHS_FOR_ANY] = {.scope = SB_WIDTH_OF_BLOCK,
                           .widths = ALL,
                           .head = ALL,
                           .embed = ALL,
                           .asymmetric = true,
                           .symmetric = true,
                           .signed_levels = true},
    [SB_WIDTHS_FOR_EXL3] = {.scope = SB_WIDTH_OF_MATRIX, .widths = ALL},
    [SB_WIDTHS_FOR_VLLM] = {.scope = SB_WIDTH_OF_TIE,
                            .widths = TO_8,
                            .groups = {128, 64, 32},
                            .asymmetric = true,
                            .signed_levels = true,
                            .parts = true},
    [SB_WIDTHS_FOR_SGLANG] = {.scope = SB_WIDTH_OF_TIE,
                              .widths = W4_8,
                              .groups = {128, 64, 32},
                              .signed_levels = true,
                              .parts = true,
                              .rank_rows = 64,
                              .rank_cols = 128},
    [SB_WIDTHS_FOR_GPTQ] = {.scope = SB_WIDTH_OF_MATRIX,
                            .widths = W2_3_4_8,
                            .head = W2_3_4_8,
                            .groups = {128, 64, 32},
                            .asymmetric = true,
                            .signed_levels = true},
    [SB_WIDTHS_FOR_MLX] = {.scope = SB_WIDTH_OF_MATRIX,
                           .widths = WITHOUT_7,
                           .head = WITHOUT_7,
                           .embed = WITHOUT_7,
                           .groups = {128, 64, 32},
                           .asymmetric = true,
                           .signed_levels = true},
};

const sb_width_rules *sb_width_rules_for(sb_widths_for reader) {
  return &all_rules[reader];
}

/* ---- sets ---- */

unsigned sb_width_at_least(sb_width_set set, unsigned bits) {
  for (unsigned b = bits; b <= SB_MAX_BITS; b++)
    if (set >> b & 1u) return b;
  return 0;
}

unsigned sb_width_at_most(sb_width_set set, unsigned bits) {
  for (unsigned b = bits < SB_MAX_BITS ? bits : SB_MAX_BITS; b > 0; b--)
    if (set >> b & 1u) return b;
  return 0;
}

void sb_width_set_text(sb_width_set set, char *text) {
  size_t n = 0;
  text[0] = 0;
  for (unsigned b = 1; b <= SB_MAX_BITS; b++)
    if (set >> b & 1u)
      n += (size_t)snprintf(text + n, SB_WIDTH_SET_TEXT - n, "%s%u", n ? ", " : "", b);
}

bool sb_width_rules_take(const sb_width_rules *r, sb_code_kind levels) {
  return (levels == SB_GRID_ASYMMETRIC && r->asymmetric) ||
         (levels == SB_GRID_SYMMETRIC && r->symmetric) ||
         (levels == SB_GRID_SIGNED && r->signed_levels);
}

/* ---- groups ---- */

/* Matrices whose inputs are the outputs of others that a server cuts along their rows are cut along
 * their inputs. */
static bool is_cut_along_inputs(sb_role role) {
  return role == SB_ROLE_O || role == SB_ROLE_DOWN;
}

static size_t ranks_along_inputs(const sb_model_tensor *t, size_t parallel) {
  return is_cut_along_inputs(t->role) ? parallel : 1;
}

/* Rows of what matrix `i` of the model is fused to. */
static size_t fused_rows(const sb_arch *a, size_t i) {
  const size_t l = a->tensors[a->matrices[i]].layer, first = a->layers[l].first_matrix,
               end = a->layers[l + 1].first_matrix, tie = sb_tied_to(a, l, i - first);
  size_t rows = 0;
  for (size_t k = first; k < end; k++)
    if (sb_tied_to(a, l, k - first) == tie) rows += a->tensors[a->matrices[k]].rows;
  return rows;
}

/* Sides of matrix `i`, fused, on a rank; whether the reader's kernel takes them. */
static bool has_sides(const sb_width_rules *r, const sb_arch *a, size_t i, size_t parallel,
                      size_t *rows, size_t *cols) {
  const sb_model_tensor *t = &a->tensors[a->matrices[i]];
  const size_t along = ranks_along_inputs(t, parallel);
  if (r->rank_rows == 0) return true;
  *rows = fused_rows(a, i) / (parallel / along);
  *cols = t->cols / along;
  return *rows % r->rank_rows == 0 && *cols % r->rank_cols == 0;
}

static bool fits(const sb_width_rules *r, const sb_arch *a, size_t i, size_t length,
                 size_t parallel) {
  const sb_model_tensor *t = &a->tensors[a->matrices[i]];
  size_t rows, cols;
  return t->cols % (length * ranks_along_inputs(t, parallel)) == 0 &&
         has_sides(r, a, i, parallel, &rows, &cols);
}

/* Why `fits` does not hold. */
static sb_status refuse_matrix(const sb_width_rules *r, const sb_arch *a, size_t i, size_t length,
                               size_t parallel) {
  const sb_model_tensor *t = &a->tensors[a->matrices[i]];
  const size_t along = ranks_along_inputs(t, parallel);
  size_t rows = 0, cols = 0;
  if (!has_sides(r, a, i, parallel, &rows, &cols))
    return sb_fail(
        SB_ERR_UNSUPPORTED,
        "%s is of a matrix of %zu outputs and %zu inputs on a rank, and the kernel there "
        "takes outputs in %zus and inputs in %zus; choose %s",
        t->name, rows, cols, r->rank_rows, r->rank_cols,
        parallel > 1 ? "fewer --tensor-parallel" : "another --widths-for");
  if (along > 1)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s has %zu inputs, and groups of %zu do not divide their part on each of %zu "
                   "ranks; choose fewer --tensor-parallel, or other columns of --block",
                   t->name, t->cols, length, along);
  return sb_fail(SB_ERR_UNSUPPORTED,
                 "%s has %zu inputs, which groups of %zu do not divide; choose other columns "
                 "of --block",
                 t->name, t->cols, length);
}

sb_status sb_width_rules_check_group(const sb_width_rules *r, const sb_arch *a, size_t length,
                                     size_t parallel) {
  bool legal = r->groups[0] == 0;
  for (size_t i = 0; i < SB_GROUP_LENGTHS; i++) legal = legal || r->groups[i] == length;
  if (!legal)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "groups of %zu weights (--block RxC) are not read there: %zu, %zu or %zu are",
                   length, r->groups[0], r->groups[1], r->groups[2]);
  for (size_t i = 0; i < a->matrix_count && r->groups[0] > 0; i++)
    if (!fits(r, a, i, length, parallel)) return refuse_matrix(r, a, i, length, parallel);
  return SB_OK;
}

static bool all_fit(const sb_width_rules *r, const sb_arch *a, size_t length, size_t parallel) {
  for (size_t i = 0; i < a->matrix_count; i++)
    if (!fits(r, a, i, length, parallel)) return false;
  return true;
}

size_t sb_width_rules_group(const sb_width_rules *r, const sb_arch *a, size_t parallel) {
  for (size_t i = 0; i < SB_GROUP_LENGTHS && r->groups[i] > 0; i++)
    if (all_fit(r, a, r->groups[i], parallel)) return r->groups[i];
  return 0;
}

size_t sb_width_rules_parallel(const sb_width_rules *r, const sb_arch *a, size_t length) {
  size_t parallel = 1;
  for (;; parallel *= 2) {
    const size_t next = 2 * parallel;
    if (a->config.heads % next != 0 || a->config.kv_heads % next != 0) return parallel;
    if (!all_fit(r, a, length, next)) return parallel;
  }
}

/* ---- of a quantized model ---- */

/* The one width of a matrix; 0, and a message, where it has none. */
static unsigned one_width(sb_width_set used, const char *name, const char *reader) {
  const unsigned least = sb_width_at_least(used, 1), next = sb_width_at_least(used, least + 1);
  if (used & 1u || least == 0)
    sb_fail(SB_ERR_UNSUPPORTED, "%s is not quantized", name);
  else if (next == 0)
    return least;
  else
    sb_fail(SB_ERR_UNSUPPORTED,
            "%s has blocks of %u and of %u bits, and %s takes one width for each matrix; quantize "
            "--widths-for %s chooses such",
            name, least, next, reader, reader);
  return 0;
}

static sb_status check_set(const char *name, unsigned bits, sb_width_set set, const char *reader) {
  char text[SB_WIDTH_SET_TEXT];
  if (set >> bits & 1u) return SB_OK;
  sb_width_set_text(set, text);
  return sb_fail(SB_ERR_UNSUPPORTED,
                 "%s has %u bits, and %s takes %s; quantize --widths-for %s chooses such", name,
                 bits, reader, text, reader);
}

/* Layer by layer: a matrix has the width of the item it is of. */
static sb_status check_layers(const sb_widths_used *u, const sb_width_rules *r,
                              const char *reader) {
  const sb_arch *a = u->arch;
  for (size_t i = 0; i < a->matrix_count; i++) {
    const sb_model_tensor *t = &a->tensors[a->matrices[i]];
    const size_t first = a->layers[t->layer].first_matrix;
    const unsigned width = one_width(u->matrices[i], t->name, reader);
    if (width == 0) return SB_ERR_UNSUPPORTED;
    SB_TRY(check_set(t->name, width, r->widths, reader));
    if (r->scope != SB_WIDTH_OF_TIE) continue;
    const size_t k = first + sb_tied_to(a, t->layer, i - first);
    if (u->matrices[k] == u->matrices[i]) continue;
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s has %u bits and %s %u, and %s computes them as one product; quantize "
                   "--widths-for %s gives them one width",
                   a->tensors[a->matrices[k]].name, sb_width_at_least(u->matrices[k], 1), t->name,
                   width, reader, reader);
  }
  return SB_OK;
}

static sb_status check_tables(const sb_widths_used *u, const sb_width_rules *r,
                              const char *reader) {
  static const sb_role roles[SB_TABLES] = {SB_ROLE_EMBED, SB_ROLE_LM_HEAD};
  const bool tied = u->arch->config.tie_embeddings;
  const sb_width_set sets[SB_TABLES] = {tied ? r->head & r->embed : r->embed, r->head};
  for (size_t i = 0; i < SB_TABLES; i++) {
    if (u->tables[i] == 0) continue;
    const char *name = sb_arch_tensor(u->arch, roles[i], 0)->name;
    if (sets[i] == 0)
      return sb_fail(SB_ERR_UNSUPPORTED,
                     "%s is quantized, and %s takes it as it is; quantize with %s 16", name, reader,
                     i == 0 ? "--embed-bits" : "--head-bits");
    const unsigned width = one_width(u->tables[i], name, reader);
    if (width == 0) return SB_ERR_UNSUPPORTED;
    SB_TRY(check_set(name, width, sets[i], reader));
  }
  return SB_OK;
}

sb_status sb_width_rules_check_used(const sb_widths_used *u, sb_widths_for reader) {
  const sb_width_rules *r = sb_width_rules_for(reader);
  const char *name = sb_widths_for_names[reader];
  const sb_code_kind kind = u->blocking.code_kind;
  if (reader == SB_WIDTHS_FOR_ANY) return SB_OK;
  if (reader == SB_WIDTHS_FOR_EXL3 && kind != SB_TRELLIS_EXL3)
    return sb_fail(SB_ERR_UNSUPPORTED, "codes are of kind %s; quantize --widths-for exl3",
                   sb_code_kind_names[kind]);
  if (reader != SB_WIDTHS_FOR_EXL3 && !sb_width_rules_take(r, sb_grid_levels(kind)))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "codes are of kind %s, which %s does not take; quantize "
                   "--widths-for %s chooses what it takes",
                   sb_code_kind_names[kind], name, name);
  if (u->order == SB_REORDER_INDEXED)
    return sb_fail(
        SB_ERR_UNSUPPORTED,
        "channels are in an order that %s has no place for; quantize with --reorder fused "
        "or none",
        name);
  if (reader == SB_WIDTHS_FOR_EXL3) SB_TRY(sb_exl3_check_sides(u->arch));
  SB_TRY(sb_width_rules_check_group(r, u->arch, u->blocking.cols, 1));
  SB_TRY(check_layers(u, r, name));
  return check_tables(u, r, name);
}

static sb_width_set used_in(const sb_model *m, const sb_matrix *matrix) {
  const size_t blocks =
      sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling);
  sb_width_set used = 0;
  for (size_t b = 0; b < blocks; b++)
    used |= (sb_width_set)(1u << m->bits[matrix->first_block + b]);
  return used;
}

sb_status sb_width_rules_check(const sb_model *m, sb_widths_for reader) {
  sb_widths_used used = {&m->arch, m->blocking, m->orders.mode, NULL, {0}};
  sb_width_set *matrices = NULL;
  SB_TRY(sb_alloc(&matrices, m->arch.matrix_count, sizeof *matrices, "widths of matrices"));
  for (size_t i = 0; i < m->arch.matrix_count; i++) matrices[i] = used_in(m, &m->matrices[i]);
  for (size_t i = 0; i < m->table_count; i++)
    if (m->tables[i].coded) used.tables[i] = used_in(m, &m->tables[i].matrix);
  used.matrices = matrices;
  const sb_status status = sb_width_rules_check_used(&used, reader);
  sb_free(&matrices);
  return status;
}
