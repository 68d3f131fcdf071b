/* shardbits quantize --codes trellis: the search, and what it tells while it runs. */
#include <math.h>
#include <stdio.h>

#include "alloc/allocate_trellis.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/trace.h"
#include "cli/quantize.h"
#include "cli/report_json.h"

/* What decides. */
static const char *loss_name(const sb_quantize_run *u) {
  return u->r->estimator == SB_ESTIMATOR_DIVERGENCE ? "divergence" : "loss";
}

static void on_candidate(void *context, sb_candidate candidate, const sb_candidate_result *c) {
  sb_quantize_run *u = context;
  sb_progress_end();
  sb_log_line("  %-8s %s %.4f  at %.4f effective bits  %.1f s", sb_candidate_names[candidate],
              loss_name(u), c->loss, c->effective_bits, c->seconds);
  sb_quantize_tell_step(u, json_pack("{s:s, s:o, s:f, s:f}", "kind", sb_candidate_names[candidate],
                                     "loss", isfinite(c->loss) ? json_real(c->loss) : json_null(),
                                     "effective_bits", c->effective_bits, "seconds", c->seconds));
}

static void on_pass(void *context, const char *what) {
  (void)context;
  sb_progress_begin(what, 1.0);
}

static void report(sb_quantize_run *u, const sb_allocate_trellis_result *result, double seconds) {
  const double loss = result->candidates[result->chosen].loss;
  const char *chosen = sb_candidate_names[result->chosen];
  sb_log_phase("search", seconds, u->backend->gemm_flops,
               "widths by %s, %s %.4f; costs of widths %.1f s, scores %.1f%% of them", chosen,
               loss_name(u), loss, result->cost_seconds,
               100.0 * result->score_seconds /
                   (result->cost_seconds > 0 ? result->cost_seconds : 1));
  sb_report_text(u->report, "search_loss", loss_name(u));
  sb_report_text(u->report, "widths_by", chosen);
  sb_report_real(u->report, "calibration_loss", loss);
  sb_report_real(u->report, "gradient_seconds", result->cost_seconds);
  sb_report_real(u->report, "score_seconds", result->score_seconds);
  if (u->report) json_object_set_new(u->report, "search", json_incref(u->steps));
}

sb_status sb_quantize_search_trellis(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  SB_PHASE(phase, "search");
  char rounded[SB_PATH_MAX];
  const sb_gptq_options gptq = sb_quantize_gptq_options(u, rounded);
  sb_allocate_trellis_result result;
  const sb_allocate_trellis_options options = {
      .bits = r->bits,
      .min_bits = r->min_bits,
      .max_bits = r->max_bits,
      .by_matrix = r->method == SB_METHOD_LAYER,
      .divergence = r->estimator == SB_ESTIMATOR_DIVERGENCE,
      .check = u->check.count > 0 ? &u->check : NULL,
      .rounding = &u->rounding,
      .gptq = r->quantizer == SB_QUANTIZER_GPTQ ? &gptq : NULL,
      .checkpoint = r->checkpoint,
      .model = u->fingerprint,
      .activation_bytes = sb_common_activation_bytes(&r->common, u->backend),
      .report = on_candidate,
      .begin_pass = on_pass,
      .context = u,
      .ticker = sb_progress_ticker()};
  sb_quantize_begin_search(u);
  sb_status status = sb_allocate_trellis(u->model, u->backend, &u->calibration, &options, &result);
  sb_progress_end();
  SB_TRY(status);
  u->rounded = result.coded;
  u->rounded_stats = result.gptq;
  u->rounded_nearest = result.left_out;
  if (result.left_out) sb_report_text(u->report, "rounding_left_out", sb_message());
  const double seconds = sb_span_seconds(&phase);
  sb_report_real(u->report, "search_seconds", seconds);
  if (result.resumed)
    sb_log_line("search    is complete in %s", r->checkpoint);
  else
    report(u, &result, seconds);
  return SB_OK;
}
