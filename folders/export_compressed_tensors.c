#include "folders/export_compressed_tensors.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "folders/int32_words.h"
#include "folders/module_names.h"
#include "kernels/shared/code_traits.h"

enum { PACKED, SCALE, SHAPE, ZEROS }; /* zero points last: signed grids have none */
enum { WORD = 32 };

static const char *const FORMAT = "pack-quantized";
static const char *const VERSION = "0.18.0"; /* the first that packs 3, 5, 6 and 7 bits densely */

static bool has_zeros(const sb_coded_matrix *matrix) {
  return sb_has_zero_point(matrix->code_kind, matrix->width);
}

static size_t parts(const sb_coded_matrix *matrix, sb_dtype dtype, sb_tensor_spec *out) {
  const size_t rows = matrix->tensor->rows, cols = matrix->tensor->cols;
  out[PACKED] = (sb_tensor_spec){.name = "weight_packed",
                                 .dtype = SB_I32,
                                 .dims = 2,
                                 .shape = {rows, sb_words(cols, matrix->width)}};
  out[SCALE] = (sb_tensor_spec){
      .name = "weight_scale", .dtype = dtype, .dims = 2, .shape = {rows, matrix->groups}};
  out[SHAPE] = (sb_tensor_spec){.name = "weight_shape", .dtype = SB_I64, .dims = 1, .shape = {2}};
  out[ZEROS] = (sb_tensor_spec){.name = "weight_zero_point",
                                .dtype = SB_I32,
                                .dims = 2,
                                .shape = {sb_words(rows, matrix->width), matrix->groups}};
  return has_zeros(matrix) ? 4 : 3;
}

/* What vLLM 0.33 takes of tables, by its readers of embeddings and of LM heads. */
static sb_status check_table(const sb_model *m, const sb_coded_matrix *matrix) {
  const sb_model_tensor *t = matrix->tensor;
  const unsigned width = matrix->width;
  if (m->config.tie_embeddings)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s is quantized, and compressed-tensors has no codes of a tied embedding; "
                   "quantize with --head-bits 16 --embed-bits 16",
                   t->name);
  if (t->role == SB_ROLE_EMBED && (has_zeros(matrix) || WORD % width != 0))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s has codes of %u bits%s, and compressed-tensors takes embeddings of 2, 4 or "
                   "8 on signed grids; quantize with --embed-bits 16",
                   t->name, width, has_zeros(matrix) ? " and zero points" : "");
  if (t->role == SB_ROLE_LM_HEAD && has_zeros(matrix) && t->rows * width % WORD != 0)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s has %zu rows, whose zero points of %u bits fill no whole words; quantize "
                   "with --head-bits 16",
                   t->name, t->rows, width);
  return SB_OK;
}

static sb_status check_fused(const sb_model *m, const sb_coded_matrix *matrix) {
  sb_fused_modules fused;
  if (!sb_fused_modules_of(&m->arch, (size_t)(matrix->tensor - m->arch.tensors), &fused))
    return SB_OK;
  for (size_t k = 0; k < fused.count; k++) {
    const sb_model_tensor *t = &m->arch.tensors[fused.tensors[k]];
    const unsigned width = m->bits[sb_model_matrix(m, t->layer, t->matrix)->first_block];
    if (width != matrix->width)
      return sb_fail(SB_ERR_UNSUPPORTED,
                     "%s has %u bits and %s %u, and servers make one module of them; quantize with "
                     "--widths-for vllm",
                     matrix->tensor->name, matrix->width, t->name, width);
  }
  return SB_OK;
}

static sb_status check(const sb_model *m, const sb_coded_matrix *matrix) {
  SB_TRY(sb_coded_check_grids(matrix, "compressed-tensors"));
  return matrix->tensor->is_linear ? check_fused(m, matrix) : check_table(m, matrix);
}

/* ---- tensors ---- */

static sb_status write_codes(const sb_part_writer *to, const sb_coded_matrix *matrix,
                             const sb_coded_rows *rows) {
  const size_t cols = matrix->tensor->cols, words = sb_words(cols, matrix->width);
  for (size_t r = 0; r < rows->count; r++)
    sb_words_dense(rows->words + r * words, rows->codes + r * cols, cols, matrix->width);
  return sb_part_write(to, PACKED, (uint64_t)rows->first * words * sizeof(uint32_t),
                       rows->count * words * sizeof(uint32_t), rows->words);
}

static sb_status write_scales(const sb_part_writer *to, const sb_coded_matrix *matrix,
                              const sb_coded_rows *rows) {
  const size_t size = sb_dtype_size(to->dtype), groups = matrix->groups;
  char *out = (char *)rows->words;
  for (size_t g = 0; g < groups; g++)
    for (size_t r = 0; r < rows->count; r++)
      if (!sb_grid_scale_as(out + (r * groups + g) * size, to->dtype,
                            &rows->grids[g * rows->count + r]))
        return sb_fail(SB_ERR_UNSUPPORTED,
                       "%s: the scale of row %zu in group %zu has more bits than bf16; use "
                       "--dtype f16",
                       matrix->tensor->name, rows->first + r, g);
  return sb_part_write(to, SCALE, (uint64_t)rows->first * groups * size,
                       rows->count * groups * size, out);
}

static sb_status write_zeros(const sb_part_writer *to, const sb_coded_matrix *matrix,
                             const sb_coded_rows *rows) {
  const size_t words = sb_words(rows->count, matrix->width), groups = matrix->groups;
  uint8_t *zeros = (uint8_t *)rows->also;
  uint32_t *column = rows->also + rows->count;
  for (size_t g = 0; g < groups; g++) {
    for (size_t r = 0; r < rows->count; r++)
      zeros[r] = sb_grid_zero(&rows->grids[g * rows->count + r]);
    sb_words_dense(column, zeros, rows->count, matrix->width);
    for (size_t w = 0; w < words; w++) rows->words[w * groups + g] = column[w];
  }
  return sb_part_write(to, ZEROS,
                       (uint64_t)rows->first * matrix->width / WORD * groups * sizeof(uint32_t),
                       words * groups * sizeof(uint32_t), rows->words);
}

static sb_status write(const sb_part_writer *to, const sb_coded_matrix *matrix,
                       const sb_coded_rows *rows) {
  const int64_t shape[2] = {(int64_t)matrix->tensor->rows, (int64_t)matrix->tensor->cols};
  SB_TRY(write_codes(to, matrix, rows));
  SB_TRY(write_scales(to, matrix, rows));
  if (has_zeros(matrix)) SB_TRY(write_zeros(to, matrix, rows));
  return rows->first == 0 ? sb_part_write(to, SHAPE, 0, sizeof shape, shape) : SB_OK;
}

/* ---- config.json ---- */

/* A scheme: what the targets of a group share. */
static json_t *scheme_of(const sb_coded_matrix *matrix) {
  const bool channel = matrix->groups == 1;
  json_t *weights = json_pack(
      "{s:i, s:s, s:b, s:s, s:o, s:b}", "num_bits", (int)matrix->width, "type", "int", "symmetric",
      !has_zeros(matrix), "strategy", channel ? "channel" : "group", "group_size",
      channel ? json_null() : json_integer((json_int_t)matrix->group), "dynamic", 0);
  return json_pack("{s:[], s:o, s:n, s:n, s:s}", "targets", "weights", weights, "input_activations",
                   "output_activations", "format", FORMAT);
}

/* Whether the matrix has that scheme. */
static bool is_of(const sb_coded_matrix *matrix, unsigned width, bool zeros, bool channel) {
  return matrix->width == width && has_zeros(matrix) == zeros && (matrix->groups == 1) == channel;
}

/* The targets that a matrix makes: a pattern for what is fused, by its first member. */
static void add_target(json_t *targets, const sb_arch *arch, size_t tensor) {
  const sb_model_tensor *t = &arch->tensors[tensor];
  sb_fused_modules fused;
  char pattern[SB_MODULE_PATTERN + 3] = "re:";
  if (!sb_fused_modules_of(arch, tensor, &fused)) {
    json_array_append_new(targets, json_stringn(t->name, (size_t)sb_module_length(t)));
  } else if (fused.tensors[0] == tensor) {
    sb_module_pattern(arch, tensor, &fused, pattern + 3);
    json_array_append_new(targets, json_string(pattern));
  }
}

static void add_group(json_t *groups, const sb_model *m, const sb_coded_matrix *matrices,
                      unsigned width, bool zeros, bool channel) {
  char key[32];
  json_t *group = NULL;
  for (size_t i = 0; i < m->arch.count; i++) {
    if (!is_of(&matrices[i], width, zeros, channel)) continue;
    if (!group) group = scheme_of(&matrices[i]);
    add_target(json_object_get(group, "targets"), &m->arch, i);
  }
  if (!group) return;
  snprintf(key, sizeof key, "group_%zu", json_object_size(groups));
  json_object_set_new(groups, key, group);
}

/* One group of targets for every scheme, by rising width. */
static json_t *config_groups(const sb_model *m, const sb_coded_matrix *matrices) {
  json_t *groups = json_object();
  for (unsigned width = SB_MIN_BITS; width <= SB_MAX_BITS; width++)
    for (int zeros = 0; zeros < 2; zeros++)
      for (int channel = 0; channel < 2; channel++)
        add_group(groups, m, matrices, width, zeros, channel);
  return groups;
}

static json_t *config(const sb_model *m, const sb_coded_matrix *matrices, int variant) {
  json_t *ignore = json_array();
  (void)variant;
  const size_t head = sb_arch_index(&m->arch, SB_ROLE_LM_HEAD, 0);
  const sb_model_tensor *t = &m->arch.tensors[head];
  if (t->role == SB_ROLE_LM_HEAD && matrices[head].width == 0)
    json_array_append_new(ignore, json_stringn(t->name, (size_t)sb_module_length(t)));
  return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:n, s:n}", "quant_method", "compressed-tensors",
                   "format", FORMAT, "quantization_status", "compressed", "version", VERSION,
                   "config_groups", config_groups(m, matrices), "ignore", ignore, "kv_cache_scheme",
                   "global_compression_ratio");
}

const sb_code_format sb_format_compressed_tensors = {.name = "compressed-tensors",
                                                     .reader = "vllm",
                                                     .parts = parts,
                                                     .check = check,
                                                     .write = write,
                                                     .config = config};
