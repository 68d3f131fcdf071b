#include "folders/export_mlx.h"

#include "folders/int32_words.h"
#include "folders/module_names.h"
#include "kernels/shared/code_traits.h"

enum { WEIGHT, SCALES, BIASES, PARTS };

static size_t parts(const sb_coded_matrix *matrix, sb_dtype dtype, sb_tensor_spec *out) {
  const size_t rows = matrix->tensor->rows, cols = matrix->tensor->cols;
  out[WEIGHT] = (sb_tensor_spec){
      .name = "weight", .dtype = SB_U32, .dims = 2, .shape = {rows, sb_words(cols, matrix->width)}};
  out[SCALES] = (sb_tensor_spec){
      .name = "scales", .dtype = dtype, .dims = 2, .shape = {rows, matrix->groups}};
  out[BIASES] = (sb_tensor_spec){
      .name = "biases", .dtype = dtype, .dims = 2, .shape = {rows, matrix->groups}};
  return PARTS;
}

static sb_status check(const sb_model *m, const sb_coded_matrix *matrix) {
  const sb_model_tensor *t = matrix->tensor;
  const unsigned width = matrix->width;
  const size_t group = matrix->group;
  (void)m;
  if (width < 2 || width == 7)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s has codes of %u bit%s, and MLX takes 2, 3, 4, 5, 6 and 8; quantize with "
                   "--widths-for mlx",
                   t->name, width, width == 1 ? "" : "s");
  if (!sb_has_whole_center(matrix->code_kind, width))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s is on grids around half a code, and --format mlx takes whole zero points; "
                   "quantize with --grid-kind signed or asymmetric",
                   t->name);
  if (group != 32 && group != 64 && group != 128)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s has groups of %zu, and MLX takes 32, 64 and 128; quantize with --widths-for "
                   "mlx, which chooses one of them",
                   t->name, group);
  return SB_OK;
}

sb_dtype sb_mlx_dtype(const sb_model *m) {
  return sb_grid_levels(m->blocking.code_kind) == SB_GRID_SIGNED ? sb_transcode_dtype(m) : SB_F16;
}

/* ---- tensors ---- */

static sb_status write(const sb_part_writer *to, const sb_coded_matrix *matrix,
                       const sb_coded_rows *rows) {
  const size_t cols = matrix->tensor->cols, words = sb_words(cols, matrix->width),
               groups = matrix->groups, size = sb_dtype_size(to->dtype);
  uint8_t *scales = (uint8_t *)rows->also, *biases = scales + rows->count * groups * size;
  for (size_t r = 0; r < rows->count; r++)
    sb_words_dense(rows->words + r * words, rows->codes + r * cols, cols, matrix->width);
  SB_TRY(sb_part_write(to, WEIGHT, (uint64_t)rows->first * words * sizeof(uint32_t),
                       rows->count * words * sizeof(uint32_t), rows->words));
  for (size_t r = 0; r < rows->count; r++)
    for (size_t g = 0; g < groups; g++) {
      const sb_grid *grid = &rows->grids[g * rows->count + r];
      const size_t at = (r * groups + g) * size;
      if (!sb_grid_scale_as(scales + at, to->dtype, grid))
        return sb_fail(SB_ERR_UNSUPPORTED,
                       "%s: its scales have more bits than bf16; export with --dtype f16, or "
                       "quantize with --scale-type bf16",
                       matrix->tensor->name);
      /* 8 times 11 bits fit into a float */
      sb_number_as(biases + at, to->dtype, -(float)sb_grid_zero(grid) * grid->scale);
    }
  SB_TRY(sb_part_write(to, SCALES, (uint64_t)rows->first * groups * size,
                       rows->count * groups * size, scales));
  return sb_part_write(to, BIASES, (uint64_t)rows->first * groups * size,
                       rows->count * groups * size, biases);
}

/* ---- config.json ---- */

static json_t *describe(const sb_coded_matrix *matrix) {
  return json_pack("{s:i, s:i, s:s}", "group_size", (int)matrix->group, "bits", (int)matrix->width,
                   "mode", "affine");
}

static json_t *config(const sb_model *m, const sb_coded_matrix *matrices, int variant) {
  json_t *out = NULL;
  (void)variant;
  for (size_t i = 0; i < m->arch.count && !out; i++)
    if (matrices[i].width > 0) out = describe(&matrices[i]); /* what no module has in fact */
  for (size_t i = 0; out && i < m->arch.count; i++) {
    const sb_model_tensor *t = &m->arch.tensors[i];
    if (matrices[i].width > 0)
      json_object_setn_new(out, t->name, (size_t)sb_module_length(t), describe(&matrices[i]));
  }
  return out;
}

const sb_code_format sb_format_mlx = {.name = "mlx",
                                      .reader = "mlx",
                                      .also = "quantization",
                                      .parts = parts,
                                      .check = check,
                                      .write = write,
                                      .config = config};
