#include "folders/made_model.h"

#include "base/memory.h"
#include "model/factors.h"

sb_status sb_made_model(const sb_world *world, const sb_config *config, sb_dtype dtype,
                        sb_blocking blocking, sb_unit_visitor fill, void *context, sb_model **out) {
  SB_TRY(sb_world_alloc(world, out, sizeof **out, "model"));
  sb_model *m = *out;
  m->world = world;
  m->config = *config;
  m->blocking = blocking;
  m->coding = SB_CODING_SOURCE;
  sb_status status = sb_arch_create(config, &m->arch);
  SB_THEN(sb_alloc(&m->dtypes, m->arch.count, sizeof *m->dtypes, "element types"));
  for (size_t i = 0; status == SB_OK && i < m->arch.count; i++) m->dtypes[i] = dtype;
  status = sb_world_agree(world, status);
  SB_THEN(sb_model_lay_out(m, NULL, NULL));
  SB_THEN(sb_factors_choose(m));
  SB_THEN(sb_world_agree(world, sb_model_visit_owned(m, fill, context)));
  if (status != SB_OK) sb_model_free(out);
  return status;
}
