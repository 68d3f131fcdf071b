/* shardbits quantize: the main job. */
#include <stdio.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/commands.h"
#include "cli/quantize.h"
#include "cli/report_json.h"
#include "cli/text_in.h"
#include "kernels/blas_room.h"
#include "quant/scale_reach.h"

/* Weights of the layers, and of the tables that will have widths, too. */
static sb_status check_reach(const sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  sb_model *m = u->model;
  for (size_t i = 0; i < m->table_count; i++)
    m->tables[i].coded = u->table_bits[i] < SB_SOURCE_BITS;
  const sb_status status =
      sb_scale_reach_check(m, r->min_bits, u->reuses ? SB_MAX_BITS : r->max_bits);
  for (size_t i = 0; i < m->table_count; i++) m->tables[i].coded = false;
  return status;
}

static sb_status work(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  double begun = sb_now();
  SB_TRY(sb_quantize_begin_out(u));
  if (r->calib) SB_TRY(sb_text_in(u->world, &u->r->common, r->model, r->out, &u->r->calib));
  SB_TRY(sb_common_backend(u->world, &r->common, &u->backend));
  if (r->calib) SB_AGREE(u->world, sb_blas_room_take(u->backend->unified ? r->common.threads : 1));
  SB_TRY(sb_quantize_load(u));
  SB_TRY(sb_quantize_find_bits(u));
  SB_TRY(sb_quantize_check_budget(u));
  SB_TRY(sb_quantize_require_space(u));
  sb_report_text(u->report, "model", r->model);
  sb_report_text(u->report, "out", r->out);
  sb_report_text(u->report, "method", sb_method_names[r->method]);
  char block[64];
  snprintf(block, sizeof block, "%zux%zu", r->common.block[0], r->common.block[1]);
  sb_report_text(u->report, "block", block);
  if (r->size.bytes > 0)
    sb_report_count(u->report, "size", r->size.bytes);
  else
    sb_report_real(u->report, "bits", r->bits);
  SB_TRY(check_reach(u));
  SB_TRY(sb_quantize_tokens(u));
  SB_TRY(sb_quantize_importance(u));
  SB_TRY(sb_quantize_reorder(u));
  sb_return_freed();
  SB_TRY(sb_quantize_take_bits(u));
  SB_TRY(sb_quantize_tables(u));
  SB_TRY(sb_quantize_allocate(u));
  sb_return_freed();
  SB_TRY(sb_quantize_round(u));
  sb_return_freed();
  SB_TRY(sb_quantize_tune(u));
  return sb_quantize_write(u, begun);
}

sb_status sb_cmd_quantize(const sb_world *world, int argc, char **argv) {
  sb_quantize_request r;
  bool help;
  SB_TRY(sb_quantize_parse(world, argc, argv, &r, &help));
  if (help) return SB_OK;
  sb_quantize_run u = {.world = world,
                       .r = &r,
                       .report = sb_report_begin(world, "quantize"),
                       .checkpoint = SB_NO_LOCK};
  if (u.report) u.steps = json_array();
  sb_status status = sb_world_agree(world, work(&u));
  SB_THEN(sb_report_write(world, r.common.json, u.report));
  sb_destination_end(&u.out);
  sb_lock_release(&u.checkpoint);
  sb_sequences_free(&u.calibration);
  sb_sequences_free(&u.check);
  sb_sequences_free(&u.rounding);
  sb_sequences_free(&u.tuning);
  sb_table_stats_free(&u.table_stats);
  if (u.rounded) sb_model_free(&u.rounded);
  if (u.source) sb_model_free(&u.source);
  if (u.model) sb_model_free(&u.model);
  if (u.backend) u.backend->op->destroy(u.backend);
  json_decref(u.steps);
  json_decref(u.report);
  return status;
}
