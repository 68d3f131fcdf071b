#include "model/width_rules.h"

#include <stdio.h>
#include <string.h>

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
 * kernel. GPTQModel: packers of 2, 3, 4 and 8 bits; `dynamic` gives each module its own.
 * MLX: quantized_matmul; modules are loaded one by one. */
static const sb_width_rules all_rules[SB_WIDTHS_FOR_COUNT] = {
    [SB_WIDTHS_FOR_ANY] = {SB_WIDTH_OF_BLOCK, ALL, ALL, ALL, {0}, true, true, true, false},
    [SB_WIDTHS_FOR_EXL3] = {SB_WIDTH_OF_MATRIX, ALL, 0, 0, {0}, false, false, false, false},
    [SB_WIDTHS_FOR_VLLM] = {SB_WIDTH_OF_TIE, TO_8, 0, 0, {128, 64, 32}, true, false, true, true},
    [SB_WIDTHS_FOR_SGLANG] = {SB_WIDTH_OF_TIE, W4_8, 0, 0, {128, 64, 32}, false, false, true, true},
    [SB_WIDTHS_FOR_GPTQ] =
        {SB_WIDTH_OF_MATRIX, W2_3_4_8, W2_3_4_8, 0, {128, 64, 32}, true, false, true, false},
    [SB_WIDTHS_FOR_MLX] = {SB_WIDTH_OF_MATRIX,
                           WITHOUT_7,
                           WITHOUT_7,
                           WITHOUT_7,
                           {128, 64, 32},
                           true,
                           false,
                           true,
                           false},
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

static bool fits(const sb_model_tensor *t, size_t length, size_t parallel) {
  const size_t ranks = is_cut_along_inputs(t->role) ? parallel : 1;
  return t->cols % (length * ranks) == 0;
}

sb_status sb_width_rules_check_group(const sb_width_rules *r, const sb_arch *a, size_t length,
                                     size_t parallel) {
  bool legal = r->groups[0] == 0;
  for (size_t i = 0; i < SB_GROUP_LENGTHS; i++) legal = legal || r->groups[i] == length;
  if (!legal)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "groups of %zu weights (--block %s) are not read there: %zu, %zu or %zu are",
                   length, "RxC", r->groups[0], r->groups[1], r->groups[2]);
  for (size_t i = 0; i < a->matrix_count && r->groups[0] > 0; i++) {
    const sb_model_tensor *t = &a->tensors[a->matrices[i]];
    const size_t cut = is_cut_along_inputs(t->role) ? parallel : 1;
    if (fits(t, length, parallel)) continue;
    if (cut == 1)
      return sb_fail(SB_ERR_UNSUPPORTED,
                     "%s has %zu inputs, which groups of %zu do not divide; choose other columns "
                     "of --block",
                     t->name, t->cols, length);
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s has %zu inputs, and groups of %zu do not divide their part on each of %zu "
                   "ranks; choose fewer --tensor-parallel, or other columns of --block",
                   t->name, t->cols, length, cut);
  }
  return SB_OK;
}

size_t sb_width_rules_group(const sb_width_rules *r, const sb_arch *a, size_t parallel) {
  for (size_t i = 0; i < SB_GROUP_LENGTHS && r->groups[i] > 0; i++) {
    bool all = true;
    for (size_t m = 0; m < a->matrix_count; m++)
      all = all && fits(&a->tensors[a->matrices[m]], r->groups[i], parallel);
    if (all) return r->groups[i];
  }
  return 0;
}

size_t sb_width_rules_parallel(const sb_arch *a, size_t length) {
  size_t parallel = 1;
  for (;; parallel *= 2) {
    const size_t next = 2 * parallel;
    if (a->config.heads % next != 0 || a->config.kv_heads % next != 0) return parallel;
    for (size_t m = 0; m < a->matrix_count; m++)
      if (!fits(&a->tensors[a->matrices[m]], length, next)) return parallel;
  }
}

/* ---- of a quantized model ---- */

/* The one width of a matrix; 0, and a message, where it has none. */
static unsigned one_width(const sb_model *m, const sb_matrix *matrix, const char *reader) {
  const size_t blocks =
      sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling);
  const uint8_t *bits = m->bits + matrix->first_block;
  const char *name = m->arch.tensors[matrix->tensor].name;
  for (size_t b = 0; b < blocks; b++)
    if (bits[b] != bits[0]) {
      sb_fail(
          SB_ERR_UNSUPPORTED,
          "%s has blocks of %d and of %d bits, and %s takes one width for each matrix; quantize "
          "--widths-for %s chooses such",
          name, bits[0], bits[b], reader, reader);
      return 0;
    }
  return bits[0];
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
static sb_status check_layers(const sb_model *m, const sb_width_rules *r, const char *reader) {
  const sb_arch *a = &m->arch;
  for (size_t l = 0; l < a->config.layers; l++) {
    const size_t first = a->layers[l].first_matrix, end = a->layers[l + 1].first_matrix;
    for (size_t i = first; i < end; i++) {
      const sb_matrix *matrix = &m->matrices[i];
      const char *name = a->tensors[matrix->tensor].name;
      const unsigned width = one_width(m, matrix, reader);
      if (width == 0 && m->bits[matrix->first_block] != 0) return SB_ERR_UNSUPPORTED;
      if (width == 0) return sb_fail(SB_ERR_UNSUPPORTED, "%s is not quantized", name);
      SB_TRY(check_set(name, width, r->widths, reader));
      if (r->scope != SB_WIDTH_OF_TIE) continue;
      const size_t k = first + sb_tied_to(a, l, i - first);
      const unsigned other = m->bits[m->matrices[k].first_block];
      if (other != width)
        return sb_fail(SB_ERR_UNSUPPORTED,
                       "%s has %u bits and %s %u, and %s computes them as one product; quantize "
                       "--widths-for %s gives them one width",
                       a->tensors[m->matrices[k].tensor].name, other, name, width, reader, reader);
    }
  }
  return SB_OK;
}

static sb_status check_tables(const sb_model *m, const sb_width_rules *r, const char *reader) {
  for (size_t i = 0; i < m->table_count; i++) {
    const sb_table *table = &m->tables[i];
    const char *name = m->arch.tensors[table->matrix.tensor].name;
    const sb_width_set set = m->table_count == 1 ? r->head & r->embed : i == 0 ? r->embed : r->head;
    if (!table->coded) continue;
    if (set == 0)
      return sb_fail(SB_ERR_UNSUPPORTED,
                     "%s is quantized, and %s takes it as it is; quantize with %s 16", name, reader,
                     i == 0 ? "--embed-bits" : "--head-bits");
    const unsigned width = one_width(m, &table->matrix, reader);
    if (width == 0) return SB_ERR_UNSUPPORTED;
    SB_TRY(check_set(name, width, set, reader));
  }
  return SB_OK;
}

sb_status sb_width_rules_check(const sb_model *m, sb_widths_for reader) {
  const sb_width_rules *r = sb_width_rules_for(reader);
  const char *name = sb_widths_for_names[reader];
  const sb_code_kind kind = m->blocking.code_kind;
  if (reader == SB_WIDTHS_FOR_ANY) return SB_OK;
  if (reader == SB_WIDTHS_FOR_EXL3 && kind != SB_TRELLIS_EXL3)
    return sb_fail(SB_ERR_UNSUPPORTED, "codes are of kind %s; quantize --widths-for exl3",
                   sb_code_kind_names[kind]);
  if (reader != SB_WIDTHS_FOR_EXL3 && !sb_width_rules_take(r, sb_grid_levels(kind)))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "codes are of kind %s, which %s does not take; quantize "
                   "--widths-for %s chooses what it takes",
                   sb_code_kind_names[kind], name, name);
  if (m->orders.mode == SB_REORDER_INDEXED)
    return sb_fail(
        SB_ERR_UNSUPPORTED,
        "channels are in an order that %s has no place for; quantize with --reorder fused "
        "or none",
        name);
  if (reader == SB_WIDTHS_FOR_EXL3) SB_TRY(sb_exl3_check_sides(&m->arch));
  SB_TRY(sb_width_rules_check_group(r, &m->arch, m->blocking.cols, 1));
  SB_TRY(check_layers(m, r, name));
  return check_tables(m, r, name);
}
