/* shardbits train: AdamW on a model spread over ranks, from weights or from scratch. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/trace.h"
#include "cli/commands.h"
#include "cli/report_json.h"
#include "cli/train.h"
#include "folders/export.h"

static sb_status evaluates(void *context, bool begins) {
  sb_train_command *u = context;
  if (u->r->eval_precision == SB_EVAL_TRAINED || !u->precisions.low) return SB_OK;
  return sb_train_set_precisions(u, !begins);
}

static sb_status before_step(void *context, uint64_t step, sb_flop_shares *shares) {
  sb_train_command *u = context;
  SB_TRY(sb_adapt_before(u->adapt, step, shares));
  sb_train_precisions_settle(&u->model->arch, &u->precisions);
  return SB_OK;
}
static sb_status after_step(void *context, const sb_step_report *report) {
  return sb_adapt_after(((sb_train_command *)context)->adapt, report);
}
static json_t *extra_of(void *context) {
  return json_pack("{s:o}", "adapt", sb_adapt_state(((sb_train_command *)context)->adapt));
}

static sb_status train(sb_train_command *u) {
  const sb_train_request *r = u->r;
  const sb_run_setup setup = {.world = u->world,
                              .trainer = u->trainer,
                              .data = u->data,
                              .heldout = u->heldout,
                              .heldout_seqs = r->eval_seqs,
                              .checkpoints = u->checkpoints,
                              .events = u->events,
                              .stop_at = r->stop_at,
                              .save_every = r->save_every,
                              .eval_every = r->eval_every,
                              .log_every = r->log_every,
                              .resumed = u->seconds > 0,
                              .seconds = u->seconds,
                              .loss = u->loss,
                              .shares = u->precisions.shares,
                              .steering = {.context = u,
                                           .before = u->adapt ? before_step : NULL,
                                           .after = u->adapt ? after_step : NULL,
                                           .evaluates = evaluates,
                                           .extra = u->adapt ? extra_of : NULL}};
  const double flops = u->backend->gemm_flops;
  SB_TRY(sb_train_run(&setup, &u->result));
  const sb_run_result *s = &u->result;
  if (s->step > u->step)
    sb_log_phase("train", s->step_seconds, u->backend->gemm_flops - flops,
                 "%" PRIu64 " steps; profiles %.1f s, data %.2f s, held-out loss %.1f s, saving "
                 "%.1f s",
                 s->step - u->step, s->steer_seconds, s->data_seconds, s->eval_seconds,
                 s->save_seconds);
  return SB_OK;
}

static sb_status write_result(sb_train_command *u) {
  const sb_train_request *r = u->r;
  sb_hf_folder_stats stats;
  SB_PHASE(phase, "write");
  sb_progress_begin("write", 1.0);
  const sb_status status = sb_export_as(
      u->model, &u->out, r->dtype, sb_common_file_bytes(&r->common), sb_progress_ticker(), &stats);
  sb_progress_end();
  SB_TRY(status);
  sb_log_phase("write", sb_span_seconds(&phase), 0, "%.1f MiB in %s", (double)stats.bytes / 0x1p20,
               r->common.out);
  sb_report_text(u->report, "path", r->common.out);
  sb_report_count(u->report, "bytes", stats.bytes);
  return SB_OK;
}

static void tell_people(const sb_train_command *u, bool complete) {
  const sb_run_result *s = &u->result;
  const sb_train_request *r = u->r;
  char seconds[SB_TEXT_SIZE], heldout[64] = "";
  const bool events_on_stdout = r->events && strcmp(r->events, "-") == 0;
  if (!sb_common_prints(u->world, &r->common) || events_on_stdout) return;
  if (isfinite(s->heldout))
    snprintf(heldout, sizeof heldout, ", held-out loss %.4f (perplexity %.2f)", s->heldout,
             exp(s->heldout));
  if (complete)
    sb_text_print(stdout, "%s: %" PRIu64 " steps in %s, loss %.4f%s", r->common.out, s->step,
                  sb_text_seconds(seconds, sizeof seconds, s->seconds), s->loss, heldout);
  else
    sb_text_print(stdout, "stopped at step %" PRIu64 " of %zu, loss %.4f%s; %s%s", s->step,
                  r->steps, s->loss, heldout,
                  u->checkpoints ? "the same command goes on from " : "nothing was saved",
                  u->checkpoints ? r->checkpoints_path : "");
}

static sb_status tell(sb_train_command *u, bool complete, double seconds) {
  const sb_run_result *s = &u->result;
  const sb_train_request *r = u->r;
  const double tokens =
      (double)(s->step - u->step) * (double)r->trainer.batch * (double)r->trainer.seqlen;
  tell_people(u, complete);
  sb_report_text(u->report, "model", r->model);
  sb_report_flag(u->report, "complete", complete);
  if (r->events) sb_report_flag(u->report, "events_complete", !sb_events_lost(u->events));
  sb_report_text(u->report, "precision", u->precisions.name);
  sb_report_real(u->report, "fp4_share", u->precisions.shares.fp4);
  sb_report_real(u->report, "fp8_share", u->precisions.shares.fp8);
  sb_report_count(u->report, "step", s->step);
  sb_report_count(u->report, "first_step", u->step);
  sb_report_real(u->report, "loss", s->loss);
  sb_report_real(u->report, "heldout_loss", s->heldout);
  sb_report_count(u->report, "skipped", s->skipped);
  sb_report_real(u->report, "tokens_per_second", tokens / s->step_seconds);
  sb_report_real(u->report, "step_seconds", s->step_seconds);
  if (u->adapt) {
    sb_report_count(u->report, "profiles", sb_adapt_profiles(u->adapt));
    sb_report_real(u->report, "adapt_seconds", s->steer_seconds);
  }
  sb_report_real(u->report, "data_seconds", s->data_seconds);
  sb_report_real(u->report, "eval_seconds", s->eval_seconds);
  sb_report_real(u->report, "save_seconds", s->save_seconds);
  sb_report_real(u->report, "training_seconds", s->seconds);
  sb_report_real(u->report, "seconds", seconds);
  SB_TRY(sb_report_peak(u->world, u->report));
  return sb_report_write(u->world, r->common.json, u->report);
}

sb_status sb_cmd_train(const sb_world *world, int argc, char **argv) {
  sb_train_request r = sb_train_defaults();
  const double start = sb_now();
  bool help;
  sb_status status = sb_train_parse(world, argc, argv, &r, &help);
  if (status == SB_OK && !help) {
    sb_train_command u = {.world = world, .r = &r, .report = sb_report_begin(world, "train")};
    status = sb_world_agree(world, sb_train_prepare(&u));
    SB_THEN(train(&u));
    const bool complete = status == SB_OK && u.result.step == r.steps;
    if (complete) status = write_result(&u);
    SB_THEN(tell(&u, complete, sb_now() - start));
    sb_train_release(&u);
  }
  sb_train_request_free(&r);
  return status;
}
