#include "folders/export_gptq.h"

#include "folders/int32_words.h"
#include "folders/module_names.h"
#include "kernels/shared/code_traits.h"

enum { QWEIGHT, QZEROS, SCALES, G_IDX, PARTS };
enum { WORD = 32, LEAST_BITS = 2, LEAST_GROUP = 16, MOST_GROUP = 1024 };

/* How numbers lie in words, and what is stored of a zero point; by the names of formats. */
enum { LESS_ONE, DENSE, PLANES };
static const char *const format_names[] = {
    [LESS_ONE] = "gptq", [DENSE] = "gptq_v2", [PLANES] = "gptq_p"};

static size_t parts(const sb_coded_matrix *matrix, sb_dtype dtype, sb_tensor_spec *out) {
  const size_t rows = matrix->tensor->rows, cols = matrix->tensor->cols, groups = matrix->groups;
  (void)dtype;
  out[QWEIGHT] = (sb_tensor_spec){.name = "qweight",
                                  .dtype = SB_I32,
                                  .dims = 2,
                                  .shape = {sb_words(cols, matrix->width), rows}};
  out[QZEROS] = (sb_tensor_spec){.name = "qzeros",
                                 .dtype = SB_I32,
                                 .dims = 2,
                                 .shape = {groups, sb_words(rows, matrix->width)}};
  out[SCALES] =
      (sb_tensor_spec){.name = "scales", .dtype = SB_F16, .dims = 2, .shape = {groups, rows}};
  out[G_IDX] = (sb_tensor_spec){.name = "g_idx", .dtype = SB_I32, .dims = 1, .shape = {cols}};
  return PARTS;
}

static int variant(const sb_model *m, const sb_coded_matrix *matrices) {
  bool zeros = false;
  for (size_t i = 0; i < m->arch.count; i++) {
    const unsigned width = matrices[i].width;
    if (width >= 5 && width <= 7) return PLANES;
    if (width > 0 && sb_has_zero_point(matrices[i].code_kind, width)) zeros = true;
  }
  return zeros ? DENSE : LESS_ONE;
}

static sb_status check(const sb_model *m, const sb_coded_matrix *matrix) {
  const sb_model_tensor *t = matrix->tensor;
  const size_t group = matrix->group;
  if (t->role == SB_ROLE_EMBED)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s is quantized, and GPTQ has no codes of embeddings; quantize with "
                   "--embed-bits 16%s",
                   t->name, m->config.tie_embeddings ? " --head-bits 16" : "");
  if (t->rows % WORD != 0 || t->cols % WORD != 0)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s is %zux%zu, and GPTQ takes sides that are multiples of %d%s", t->name,
                   t->rows, t->cols, WORD, t->is_linear ? "" : "; quantize with --head-bits 16");
  if (matrix->groups > 1 && (group < LEAST_GROUP || (group & (group - 1)) != 0))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s has groups of %zu, and GPTQ takes powers of two from %d on; quantize with "
                   "--block 128x%d",
                   t->name, group, LEAST_GROUP, WORD);
  return sb_coded_check_grids(matrix, "GPTQ");
}

/* ---- tensors ---- */

/* Runs of the rows, one for each of `lines` rows of a part that has [lines, of the matrix' rows]
 * elements. */
static sb_status write_lines(const sb_part_writer *to, size_t part, size_t lines, size_t stride,
                             size_t offset, size_t run, const void *data) {
  for (size_t i = 0; i < lines; i++)
    SB_TRY(
        sb_part_write(to, part, (uint64_t)i * stride + offset, run, (const char *)data + i * run));
  return SB_OK;
}

static sb_status write_codes(const sb_part_writer *to, const sb_coded_matrix *matrix,
                             const sb_coded_rows *rows) {
  const size_t cols = matrix->tensor->cols, words = sb_words(cols, matrix->width),
               size = sizeof(uint32_t);
  for (size_t r = 0; r < rows->count; r++)
    (to->variant == PLANES ? sb_words_planes : sb_words_dense)(
        rows->words + r * words, rows->codes + r * cols, cols, matrix->width);
  sb_words_transpose(rows->also, rows->words, rows->count, words);
  return write_lines(to, QWEIGHT, words, matrix->tensor->rows * size, rows->first * size,
                     rows->count * size, rows->also);
}

static sb_status write_grids(const sb_part_writer *to, const sb_coded_matrix *matrix,
                             const sb_coded_rows *rows) {
  const size_t count = rows->count, words = sb_words(count, matrix->width),
               all = matrix->tensor->rows, size = sizeof(uint32_t), half = sizeof(uint16_t);
  const unsigned most = (1u << matrix->width) - 1u, less = to->variant == LESS_ONE;
  uint16_t *scales = (uint16_t *)rows->also;
  uint8_t *zeros = (uint8_t *)rows->also;
  for (size_t g = 0; g < matrix->groups; g++) {
    for (size_t r = 0; r < count; r++)
      zeros[r] = (uint8_t)((sb_grid_zero(&rows->grids[g * count + r]) - less) & most);
    (to->variant == PLANES ? sb_words_planes : sb_words_dense)(rows->words + g * words, zeros,
                                                               count, matrix->width);
  }
  SB_TRY(write_lines(to, QZEROS, matrix->groups, sb_words(all, matrix->width) * size,
                     rows->first * matrix->width / WORD * size, words * size, rows->words));
  for (size_t i = 0; i < matrix->groups * count; i++)
    sb_grid_scale_as(&scales[i], SB_F16, &rows->grids[i]);
  return write_lines(to, SCALES, matrix->groups, all * half, rows->first * half, count * half,
                     scales);
}

static sb_status write(const sb_part_writer *to, const sb_coded_matrix *matrix,
                       const sb_coded_rows *rows) {
  const size_t cols = matrix->tensor->cols;
  SB_TRY(write_codes(to, matrix, rows));
  SB_TRY(write_grids(to, matrix, rows));
  if (rows->first > 0) return SB_OK;
  for (size_t c = 0; c < cols; c++) rows->words[c] = (uint32_t)(c / matrix->group);
  return sb_part_write(to, G_IDX, 0, cols * sizeof(uint32_t), rows->words);
}

/* ---- config.json ---- */

static int group_size(const sb_coded_matrix *matrix) {
  return matrix->groups == 1 ? -1 : (int)matrix->group;
}

/* The width of most matrices. */
static const sb_coded_matrix *most_frequent(const sb_model *m, const sb_coded_matrix *matrices) {
  size_t counts[SB_WIDTHS] = {0};
  const sb_coded_matrix *best = NULL;
  for (size_t i = 0; i < m->arch.count; i++)
    if (m->arch.tensors[i].is_linear) counts[matrices[i].width]++;
  for (size_t i = 0; i < m->arch.count; i++)
    if (m->arch.tensors[i].is_linear && (!best || counts[matrices[i].width] > counts[best->width]))
      best = &matrices[i];
  return best;
}

static bool same(const sb_coded_matrix *a, const sb_coded_matrix *b) {
  return a->width == b->width && group_size(a) == group_size(b);
}

/* The fused set of a tensor, if its members are all alike. */
static bool set_of(const sb_model *m, const sb_coded_matrix *matrices, size_t tensor,
                   sb_fused_modules *out) {
  if (!sb_fused_modules_of(&m->arch, tensor, out)) return false;
  for (size_t k = 0; k < out->count; k++)
    if (!same(&matrices[out->tensors[k]], &matrices[tensor])) return false;
  return true;
}

/* The matrices that differ from most. */
static json_t *dynamic(const sb_model *m, const sb_coded_matrix *matrices,
                       const sb_coded_matrix *most) {
  json_t *out = json_object();
  for (size_t i = 0; i < m->arch.count; i++) {
    sb_fused_modules fused;
    char pattern[SB_MODULE_PATTERN + 2] = "+:";
    if (matrices[i].width == 0 || same(&matrices[i], most)) continue;
    const bool is_fused = set_of(m, matrices, i, &fused);
    if (is_fused && fused.tensors[0] != i) continue;
    sb_module_pattern(&m->arch, i, is_fused ? &fused : NULL, pattern + 2);
    json_object_set_new(out, pattern,
                        json_pack("{s:i, s:i}", "bits", (int)matrices[i].width, "group_size",
                                  group_size(&matrices[i])));
  }
  return out;
}

static json_t *config(const sb_model *m, const sb_coded_matrix *matrices, int variant) {
  const sb_coded_matrix *most = most_frequent(m, matrices);
  const size_t head = sb_arch_index(&m->arch, SB_ROLE_LM_HEAD, 0);
  return json_pack("{s:s, s:s, s:s, s:i, s:i, s:b, s:b, s:b, s:s, s:o}", "quant_method", "gptq",
                   "checkpoint_format", format_names[variant], "format", format_names[variant],
                   "bits", (int)most->width, "group_size", group_size(most), "desc_act", 0, "sym",
                   !sb_has_zero_point(most->code_kind, most->width), "lm_head",
                   !m->config.tie_embeddings && matrices[head].width > 0, "pack_dtype", "int32",
                   "dynamic", dynamic(m, matrices, most));
}

const sb_code_format sb_format_gptq = {.name = "gptq",
                                       .reader = "gptq",
                                       .parts = parts,
                                       .check = check,
                                       .variant = variant,
                                       .write = write,
                                       .config = config};
