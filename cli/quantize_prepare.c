/* shardbits quantize, before bits are chosen: the model, grids, orders. */
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/progress.h"
#include "base/trace.h"
#include "cli/quantize.h"
#include "cli/report_json.h"
#include "folders/bits_file.h"
#include "folders/hf_load.h"
#include "io/atomic.h"
#include "io/outdir.h"
#include "model/effective_bits.h"
#include "mpi/large.h"
#include "pass/fingerprint.h"
#include "quant/importance.h"
#include "sensitivity/reorder.h"

sb_status sb_quantize_check_out(const sb_quantize_run *u) {
  sb_status status = SB_OK;
  sb_outdir folder = {0};
  if (u->world->rank == 0) {
    status = sb_outdir_begin(u->r->out, u->r->overwrite, &folder);
    SB_THEN(sb_outdir_abandon(&folder));
    const char *const needed[] = {u->r->model, u->r->calib, u->r->allocation, u->r->checkpoint};
    for (int i = 0; i < 4; i++)
      if (status == SB_OK && needed[i]) status = sb_outdir_spare(u->r->out, needed[i]);
    if (status == SB_OK && u->r->checkpoint && access(u->r->checkpoint, F_OK) != 0)
      status = sb_file_check_target(u->r->checkpoint);
    if (status == SB_OK && u->r->allocation && access(u->r->allocation, F_OK) != 0)
      status = sb_file_check_target(u->r->allocation);
  }
  return sb_world_agree(u->world, status);
}

sb_status sb_quantize_load(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  SB_PHASE(phase, "load");
  const sb_blocking blocking = {r->common.block[0], r->common.block[1],
                                r->symmetric ? SB_SYMMETRIC : SB_ASYMMETRIC};
  SB_TRY(sb_hf_load(u->world, r->model, blocking, true, &u->model));
  const sb_model *m = u->model;
  SB_TRY(sb_common_check_seqlen(&r->common, &m->config));
  if (r->checkpoint) SB_TRY(sb_model_fingerprint(u->model, &u->fingerprint));
  sb_log_phase("load", sb_span_seconds(&phase), 0,
               "%zu layers, %zu blocks of %zux%zu, %d rank%s on %d node%s", m->config.layers,
               m->blocks, r->common.block[0], r->common.block[1], u->world->size,
               u->world->size == 1 ? "" : "s", u->world->nodes, u->world->nodes == 1 ? "" : "s");
  return SB_OK;
}

/* One bit a block serves only budgets that leave no choice: rounded to nearest, it costs
 * more than it saves. */
void sb_quantize_choose_least(sb_quantize_run *u) {
  sb_quantize_request *r = u->r;
  if (r->min_bits == 0) {
    const sb_model *m = u->model;
    double two = sb_effective_bits_uniform(&m->arch, m->blocking.rows, m->blocking.cols, 2,
                                           m->blocking.symmetry) +
                 sb_model_order_bits(m, r->reorder);
    r->min_bits = r->bits < two ? 1 : 2;
  }
  if (r->min_bits > r->max_bits) r->min_bits = r->max_bits;
}

/* Fitted grids want to know how large inputs are. Before any bits are set: seen from the model as
 * it came. */
sb_status sb_quantize_importance(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  SB_PHASE(phase, "inputs");
  sb_report_text(u->report, "grid", sb_grid_names[r->grid]);
  if (r->grid != SB_GRID_FITTED) return SB_OK;
  u->backend->gemm_flops = 0;
  sb_progress_begin("inputs", 1.0);
  sb_status status = sb_importance_measure(u->model, u->backend, &u->calibration,
                                           sb_common_activation_bytes(&r->common, u->backend),
                                           sb_progress_ticker());
  sb_progress_end();
  SB_TRY(status);
  sb_log_phase("inputs", sb_span_seconds(&phase), u->backend->gemm_flops,
               "mean squares of what goes into the matrices");
  return SB_OK;
}

static sb_status find_orders(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  SB_PHASE(phase, "reorder");
  sb_reorder_result result;
  const sb_reorder_options options = {.mode = r->reorder,
                                      .score = r->channel_score,
                                      .bits = r->bits,
                                      .activation_bytes =
                                          sb_common_activation_bytes(&r->common, u->backend),
                                      .ticker = sb_progress_ticker()};
  sb_progress_begin("reorder", 1.0);
  sb_status status =
      sb_reorder_model(&u->model, r->model, u->backend, &u->calibration, &options, &result);
  sb_progress_end();
  SB_TRY(status);
  const double seconds = sb_span_seconds(&phase);
  sb_log_phase("reorder", seconds, 0,
               "%s, by channels scored at %u bits (loss %.4f); scores %.1f%% of the pass",
               sb_reorder_names[r->reorder], result.width, result.loss,
               100 * result.score_seconds / result.gradient_seconds);
  sb_report_real(u->report, "reorder_seconds", seconds);
  return SB_OK;
}

/* Replaces the model by the same one with its channels in a better order, or in that of a bit map
 * that is used again. */
sb_status sb_quantize_reorder(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  sb_orders orders = {0};
  sb_report_text(u->report, "reorder", sb_reorder_names[r->reorder]);
  if (r->reorder == SB_REORDER_NONE) return SB_OK;
  if (!u->reuses) return find_orders(u);
  SB_TRY(sb_bits_file_orders(u->world, r->allocation, &u->model->arch, r->reorder, &orders));
  sb_status status = sb_reorder_reload(&u->model, r->model, &orders);
  sb_orders_free(&orders);
  return status;
}
