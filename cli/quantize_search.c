/* shardbits quantize, the search and what it tells while it runs. */
#include <math.h>
#include <stdio.h>

#include "alloc/allocate.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/trace.h"
#include "cli/follow.h"
#include "cli/quantize.h"
#include "cli/quantize_readers.h"
#include "cli/report_json.h"

/* What the search makes less. */
static const char *loss_name(const sb_quantize_run *u) {
  return u->r->estimator == SB_ESTIMATOR_DIVERGENCE ? "divergence" : "loss";
}

void sb_quantize_tell_step(const sb_quantize_run *u, json_t *step) {
  /* the step's own seconds make room for those of the run, which every event has */
  json_t *members = json_copy(step);
  json_object_set(members, "took", json_object_get(members, "seconds"));
  json_object_del(members, "seconds");
  sb_follow_event("search_step", members);
  if (u->steps) json_array_append(u->steps, step);
  json_decref(step);
}

static void on_step(void *context, const sb_search_step *step, double effective_bits) {
  sb_quantize_run *u = context;
  sb_progress_end();
  if (step->path)
    sb_log_line("  step %2d  path   %s %.4f  -> %.4f effective bits, %llu raised, %llu cut  %.1f s",
                step->step, loss_name(u), step->loss, effective_bits,
                (unsigned long long)step->raised, (unsigned long long)step->cut, step->seconds);
  else
    sb_log_line(
        "  step %2d  trade  %s %.4f  at %.4f effective bits, %llu raised, %llu cut, %s  %.1f s",
        step->step, loss_name(u), step->loss, effective_bits, (unsigned long long)step->raised,
        (unsigned long long)step->cut, step->accepted ? "kept" : "taken back", step->seconds);
  sb_quantize_tell_step(u, json_pack("{s:i, s:s, s:o, s:f, s:I, s:I, s:b, s:f}", "step", step->step,
                                     "kind", step->path ? "path" : "trade", "loss",
                                     isfinite(step->loss) ? json_real(step->loss) : json_null(),
                                     "effective_bits", effective_bits, "raised",
                                     (json_int_t)step->raised, "cut", (json_int_t)step->cut,
                                     "accepted", step->accepted, "seconds", step->seconds));
  u->step = step->step + 1;
}

static void on_pass(void *context, const char *what) {
  const sb_quantize_run *u = context;
  const sb_quantize_request *r = u->r;
  char title[64];
  const int most = r->strides + r->trades; /* a path to a far budget takes more */
  snprintf(title, sizeof title, "step %d of at most %d, %s", u->step,
           u->step > most ? u->step : most, what);
  sb_progress_begin(title, 1.0);
}

void sb_quantize_begin_search(const sb_quantize_run *u) {
  sb_log_line("search    %zu calibration sequence%s of %zu tokens, budget %g effective bits",
              u->calibration.count, sb_text_s(u->calibration.count), u->calibration.seqlen,
              u->r->bits);
  u->backend->gemm_flops = u->backend->gemm_seconds = 0;
}

sb_status sb_quantize_search(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  SB_PHASE(phase, "search");
  sb_allocate_result result;
  const sb_allocate_options options = {.bits = r->bits,
                                       .min_bits = r->min_bits,
                                       .max_bits = r->max_bits,
                                       .scope = sb_quantize_scope(r),
                                       .widths = sb_quantize_widths(r),
                                       .start_bits = r->start_bits,
                                       .estimator = r->estimator,
                                       .strides = r->strides,
                                       .trades = r->trades,
                                       .first_share = r->first_share,
                                       .least_share = r->first_share / 32,
                                       .activation_bytes =
                                           sb_common_activation_bytes(&r->common, u->backend),
                                       .check = r->check_seqs > 0 ? &u->check : NULL,
                                       .checkpoint = r->checkpoint,
                                       .model = u->fingerprint,
                                       .report = on_step,
                                       .begin_pass = on_pass,
                                       .context = u,
                                       .ticker = sb_progress_ticker()};
  sb_quantize_begin_search(u);
  sb_status status = sb_allocate(u->model, u->backend, &u->calibration, &options, &result);
  sb_progress_end();
  SB_TRY(status);
  u->went_back = result.search.went_back;
  if (result.resumed_steps > 0)
    sb_log_line("search    went on from %s, %d steps done before", r->checkpoint,
                result.resumed_steps);
  const double seconds = sb_span_seconds(&phase);
  const int gradient_passes = result.search.gain_passes + result.cost_passes;
  const int forward_passes = result.search.loss_passes + result.source_passes;
  sb_log_phase("search", seconds, u->backend->gemm_flops,
               "%s %.4f (%.4f before trades), %d gradient and %d forward passes, GEMM %.0f%%, "
               "scores %.1f%% of the "
               "gradient time",
               loss_name(u), result.search.loss, result.search.path_loss, gradient_passes,
               forward_passes, 100.0 * u->backend->gemm_seconds / seconds,
               100.0 * result.score_seconds /
                   (result.gradient_seconds > 0 ? result.gradient_seconds : 1));
  sb_report_text(u->report, "search_loss", loss_name(u));
  sb_report_real(u->report, "calibration_loss", result.search.loss);
  sb_report_real(u->report, "start_loss", result.search.start_loss);
  sb_report_real(u->report, "path_loss", result.search.path_loss);
  sb_report_real(u->report, "search_seconds", seconds);
  sb_report_real(u->report, "gradient_seconds", result.gradient_seconds);
  sb_report_real(u->report, "score_seconds", result.score_seconds);
  sb_report_real(u->report, "forward_seconds", result.loss_seconds);
  sb_report_count(u->report, "gradient_passes", (uint64_t)gradient_passes);
  sb_report_count(u->report, "forward_passes", (uint64_t)forward_passes);
  if (u->report) json_object_set_new(u->report, "search", json_incref(u->steps));
  return SB_OK;
}
