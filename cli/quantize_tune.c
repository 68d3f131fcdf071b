/* shardbits quantize, when weights are rounded: training their scales. */
#include "base/log.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/trace.h"
#include "cli/quantize.h"
#include "cli/report_json.h"
#include "io/file.h"
#include "quant/tune_scales.h"

static void report(sb_quantize_run *u, const sb_tune_stats *stats, size_t batch, double seconds) {
  sb_log_phase("tune", seconds, u->backend->gemm_flops,
               "%zu step%s on %zu sequence%s, divergence on %zu of them %.4f before, %.4f after; "
               "scales %.1f%% "
               "of the time",
               stats->steps, sb_text_s(stats->steps), u->tuning.count, sb_text_s(u->tuning.count),
               stats->looked_at, stats->before, stats->after, 100 * stats->scale_seconds / seconds);
  if (!u->report) return;
  json_t *tuned = json_object();
  sb_report_count(tuned, "sequences", u->tuning.count);
  sb_report_count(tuned, "batch", batch);
  sb_report_count(tuned, "epochs", (uint64_t)u->r->tune_epochs);
  sb_report_text(tuned, "norms", sb_yes_no_names[u->r->tune_norms]);
  sb_report_text(tuned, "tables", sb_yes_no_names[u->r->tune_tables]);
  sb_report_count(tuned, "steps", stats->steps);
  sb_report_real(tuned, "divergence_before", stats->before);
  sb_report_real(tuned, "divergence_after", stats->after);
  sb_report_real(tuned, "seconds", seconds);
  json_object_set_new(u->report, "tune", tuned);
}

/* What the user can do where a step has too few sequences for all ranks: the result must not depend
 * on how many there are. */
static void tell_idle(const sb_quantize_run *u, size_t batch) {
  const size_t ranks = (size_t)u->world->size;
  if (batch >= ranks) return;
  const bool chosen = u->r->tune_batch > 0;
  sb_log_line("tune      steps of %zu sequence%s leave %zu rank%s without work; %s %zu gives each "
              "some, and %s",
              batch, sb_text_s(batch), ranks - batch, sb_text_s(ranks - batch),
              chosen ? "--tune-batch" : "--tune-seqs", chosen ? ranks : ranks * SB_TUNE_STEPS,
              chosen ? "another result" : "wins more");
}

/* Training is a luxury that hours of work before it must not be lost for. */
static void report_left_out(sb_quantize_run *u) {
  sb_log_line("warning: training of scales is left out, the rounded model is kept: %s",
              sb_message());
  if (!u->report) return;
  json_t *tuned = json_object();
  sb_report_text(tuned, "left_out", sb_message());
  json_object_set_new(u->report, "tune", tuned);
}

sb_status sb_quantize_tune(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  SB_PHASE(phase, "tune");
  sb_tune_stats stats;
  if (r->tune_seqs == 0) return SB_OK;
  const size_t batch = r->tune_batch > 0 ? r->tune_batch : sb_tune_batch(u->tuning.count);
  tell_idle(u, batch);
  char checkpoint[SB_PATH_MAX];
  if (r->checkpoint) sb_quantize_checkpoint_path(u, "trained", checkpoint);
  const sb_tune_options options = {.epochs = r->tune_epochs,
                                   .trained = sb_quantize_trained(r, u->table_bits),
                                   .batch = batch,
                                   .rate = r->tune_rate > 0 ? r->tune_rate : sb_tune_rate(batch),
                                   .activation_bytes =
                                       sb_common_activation_bytes(&r->common, u->backend),
                                   .checkpoint = r->checkpoint ? checkpoint : NULL,
                                   .ticker = sb_progress_ticker()};
  u->backend->gemm_flops = u->backend->gemm_seconds = 0;
  sb_progress_begin("tune", 1.0);
  const sb_status status = sb_tune(u->source, u->model, u->backend, &u->tuning, &options, &stats);
  sb_progress_end();
  if (status != SB_ERR_NUMERIC) SB_TRY(status);
  sb_model_free(&u->source);
  if (status == SB_ERR_NUMERIC) {
    report_left_out(u);
    return SB_OK;
  }
  if (stats.resumed > 0)
    sb_log_line("tune      went on from %s, %zu of %zu steps done before", checkpoint,
                stats.resumed, stats.steps);
  report(u, &stats, batch, sb_span_seconds(&phase));
  if (stats.after > stats.before)
    sb_log_line("warning: after training the model is further from its predictions on these "
                "sequences than before; give more --tune-seqs, or --tune-seqs 0");
  return SB_OK;
}
