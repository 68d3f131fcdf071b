/* Reading a Hugging Face folder into the store: every rank the rows it owns, straight from the files. */
#include "base/memory.h"
#include "io/safetensors.h"
#include "model/arch_check.h"
#include "model/finite.h"
#include "model/model.h"

typedef struct reader {
  const sb_safetensors *weights;
  bool check_finite;
} reader;

static sb_status read_unit(void *context, sb_model *m, const sb_place *place, size_t unit, void *data) {
  const reader *r = context;
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  const sb_tensor_info *info = sb_safetensors_find(r->weights, t->name);
  size_t first, rows, row_bytes = sb_model_row_bytes(m, place->tensor);
  sb_place_rows(m, place, unit, &first, &rows);
  SB_TRY(sb_safetensors_read(r->weights, info, first * row_bytes, rows * row_bytes, data));
  if (!r->check_finite) return SB_OK;
  size_t count = rows * t->cols, bad = sb_finite_first_bad(data, m->dtypes[place->tensor], count);
  if (bad < count)
    return sb_fail(
        SB_ERR_NUMERIC,
        "%s: %s[%zu, %zu] is not a finite number; the weights are damaged, fetch or convert them again",
        info->file, t->name, first + bad / t->cols, bad % t->cols);
  return SB_OK;
}

static sb_status read_types(sb_model *m, const sb_safetensors *weights) {
  SB_TRY(sb_alloc(&m->dtypes, m->arch.count, sizeof *m->dtypes, "element types"));
  for (size_t i = 0; i < m->arch.count; i++)
    m->dtypes[i] = sb_safetensors_find(weights, m->arch.tensors[i].name)->dtype;
  return SB_OK;
}

static sb_status describe(sb_model *m, const char *folder, sb_safetensors **weights) {
  SB_TRY(sb_config_read(folder, &m->config));
  SB_TRY(sb_arch_create(&m->config, &m->arch));
  SB_TRY(sb_safetensors_open(folder, weights));
  SB_TRY(sb_arch_check(&m->arch, *weights, folder));
  return read_types(m, *weights);
}

sb_status sb_model_load(const sb_world *world, const char *folder, sb_blocking blocking, bool check_finite,
                        sb_model **out) {
  sb_safetensors *weights = NULL;
  sb_status status = sb_alloc(out, 1, sizeof **out, "model");
  SB_AGREE(world, status);
  sb_model *m = *out;
  m->world = world;
  m->blocking = blocking;
  m->coding = SB_CODING_SOURCE;
  status = sb_world_agree(world, describe(m, folder, &weights));
  if (status == SB_OK) status = sb_model_lay_out(m, NULL, NULL);
  if (status == SB_OK) {
    reader r = {weights, check_finite};
    status = sb_world_agree(world, sb_model_visit_owned(m, read_unit, &r));
  }
  sb_safetensors_close(&weights);
  if (status != SB_OK) sb_model_free(out);
  return status;
}
