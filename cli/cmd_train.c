/* shardbits train: AdamW on a model spread over ranks, from weights or from scratch. */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/trace.h"
#include "cli/commands.h"
#include "cli/report_json.h"
#include "cli/train_precision.h"
#include "folders/companions.h"
#include "folders/destination.h"
#include "folders/export.h"
#include "folders/fresh_model.h"
#include "folders/hf_load.h"
#include "train/run.h"
#include "train/run_key.h"

enum { BLOCK = 128 }; /* rows of a unit: how finely the model is spread over ranks */

typedef struct run {
  const sb_world *world;
  sb_train_request *r;
  json_t *report;
  sb_backend *backend;
  sb_model *model;
  sb_destination out;
  sb_train_data *data, *heldout;
  sb_trainer *trainer;
  sb_train_precisions precisions;
  sb_key key;
  sb_checkpoints *checkpoints;
  sb_events *events;
  sb_adapt *adapt; /* NULL: precisions stay as they are */
  json_t *extra;   /* of the checkpoint that this attempt begins at: whoever steers knows it */
  uint64_t step;   /* where this attempt begins */
  double seconds;  /* of training before it */
  sb_run_result result;
} run;

/* ---- before the first step ---- */

static bool is_folder(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* MODEL is a folder, or a configuration file; the same on all ranks, as rank 0 sees it. */
static sb_status begin_out(run *u, bool *has_weights) {
  const sb_world *world = u->world;
  const sb_train_request *r = u->r;
  *has_weights = is_folder(r->model);
  SB_MPI(MPI_Bcast(has_weights, (int)sizeof *has_weights, MPI_BYTE, 0, world->comm));
  SB_TRY(sb_destination_begin(world, r->common.out, r->common.overwrite,
                              *has_weights ? r->model : NULL, &u->out));
  if (*has_weights) return SB_OK;
  return sb_world_agree(
      world, world->rank == 0 ? sb_companions_copy_config(r->model, &u->out.folder) : SB_OK);
}

static sb_status load_model(run *u, bool has_weights) {
  const sb_train_request *r = u->r;
  const sb_blocking blocking = {BLOCK, BLOCK, SB_ASYMMETRIC};
  char count[SB_TEXT_SIZE];
  SB_PHASE(phase, "load");
  SB_TRY(has_weights ? sb_hf_load_f32(u->world, r->model, blocking, &u->model)
                     : sb_fresh_model(u->world, r->model, r->common.seed, blocking, &u->model));
  sb_log_phase("load", sb_span_seconds(&phase), 0, "%s: %s parameters%s", r->model,
               sb_text_count(count, sizeof count, (double)sb_export_source_bytes(u->model) / 4),
               has_weights ? "" : ", random");
  return SB_OK;
}

static sb_status open_data(run *u) {
  sb_train_request *r = u->r;
  sb_train_data_setup setup = {.world = u->world,
                               .sources = r->sources.sources,
                               .count = r->sources.count,
                               .width = r->common.token_width,
                               .vocab = u->model->config.vocab,
                               .seqlen = r->trainer.seqlen,
                               .batch = r->trainer.batch,
                               .seed = r->common.seed};
  char tokens[SB_TEXT_SIZE];
  SB_TRY(sb_train_data_open(&setup, &u->data));
  const double windows = (double)sb_train_data_windows(u->data);
  sb_log_line("tokens    %s; %.3g passes in %zu steps of %zu sequences of %zu tokens",
              sb_text_count(tokens, sizeof tokens, (double)sb_train_data_tokens(u->data)),
              (double)r->steps * (double)r->trainer.batch / windows, r->steps, r->trainer.batch,
              r->trainer.seqlen);
  if (!r->eval_tokens) return SB_OK;
  setup.sources = r->eval_sources.sources;
  setup.count = r->eval_sources.count;
  setup.seed = 0;
  SB_TRY(sb_train_data_open(&setup, &u->heldout));
  r->eval_seqs = sb_min_size(r->eval_seqs, sb_train_data_windows(u->heldout));
  return SB_OK;
}

static bool has_moments(const char *folder) {
  char path[SB_PATH_MAX];
  return sb_path_join(path, folder, SB_OPTIMIZER_FILE) == SB_OK && access(path, F_OK) == 0;
}

/* Moments and step of --optimizer. */
static sb_status take_optimizer(run *u) {
  const char *path = u->r->optimizer;
  sb_trainer_progress progress = {0};
  sb_optimizer_info info = {0};
  bool masters;
  if (!path) {
    if (has_moments(u->r->model))
      sb_log_line("optimizer begins anew; --optimizer %s/%s would take up its moments", u->r->model,
                  SB_OPTIMIZER_FILE);
    return SB_OK;
  }
  SB_AGREE(u->world, sb_optimizer_file_info(path, &info));
  SB_TRY(sb_optimizer_file_read(u->world, path, sb_trainer_optimizer(u->trainer), &masters));
  if (info.step >= u->r->stop_at)
    return sb_fail(SB_ERR_RANGE, "%s: is of step %" PRIu64 ", and this run ends with step %zu",
                   path, info.step, u->r->stop_at);
  progress.step = info.step;
  progress.updates = info.updates;
  sb_trainer_resume(u->trainer, &progress);
  sb_log_line("optimizer %s: moments of %" PRIu64 " updates, at step %" PRIu64, path, info.updates,
              info.step);
  return SB_OK;
}

/* What the GEMMs of the trainer's pass run in: the map, or high for held-out loss. */
static sb_status set_precisions(run *u, bool as_trained) {
  return sb_pass_set_precisions(sb_trainer_pass(u->trainer),
                                as_trained && u->precisions.low ? &u->precisions.map : NULL,
                                &u->r->lowprec);
}

static sb_status make_precisions(run *u) {
  SB_AGREE(u->world, sb_train_precisions_make(u->r, u->model, &u->precisions));
  const sb_train_precisions *p = &u->precisions;
  if (p->low)
    sb_log_line(
        "precision %s: %.1f%% of the FLOPs of linear layers in fp4, %.1f%% in fp8, emulated",
        p->name, 100 * p->shares.fp4, 100 * p->shares.fp8);
  return SB_OK;
}

static sb_status make_trainer(run *u) {
  sb_train_request *r = u->r;
  r->trainer.seed = r->common.seed;
  r->trainer.activation_bytes = sb_common_activation_bytes(&r->common, u->backend);
  SB_TRY(sb_trainer_create(u->model, u->backend, &r->trainer, &u->trainer));
  SB_TRY(take_optimizer(u));
  SB_TRY(set_precisions(u, true));
  char adaptive[SB_KEY_TEXT];
  sb_train_adapt_key(&r->adapt, adaptive);
  const sb_run_key_parts parts = {.model = u->model,
                                  .backend = u->backend,
                                  .trainer = u->trainer,
                                  .data = u->data,
                                  .precision = u->precisions.name,
                                  .adaptive = adaptive,
                                  .lowprec = u->precisions.low || adaptive[0] ? &r->lowprec : NULL};
  return sb_run_key_make(&parts, &u->key);
}

/* The newest checkpoint, if there is one, is where this attempt begins. */
static sb_status resume(run *u) {
  const sb_train_request *r = u->r;
  const sb_checkpoints_setup setup = {.world = u->world,
                                      .optimizer = sb_trainer_optimizer(u->trainer),
                                      .key = &u->key,
                                      .path = r->checkpoints_path,
                                      .side_files = u->out.folder.partial,
                                      .keep = r->keep,
                                      .keep_every = r->keep_every,
                                      .wait = r->save_waits};
  sb_run_state state = {0};
  json_t *found = NULL;
  if (r->save_every == 0) return SB_OK;
  SB_TRY(sb_checkpoints_open(&setup, &u->checkpoints));
  SB_TRY(sb_checkpoints_load(u->checkpoints, &found));
  if (!found) return SB_OK;
  sb_status status = sb_run_state_parse(found, &state);
  json_decref(found);
  u->extra = state.extra;
  SB_TRY(status);
  if (state.progress.step > r->stop_at)
    return sb_fail(SB_ERR_RANGE, "%s: has step %" PRIu64 ", behind --stop-at %zu",
                   r->checkpoints_path, state.progress.step, r->stop_at);
  sb_trainer_resume(u->trainer, &state.progress);
  u->seconds = state.seconds;
  sb_log_line("training  goes on from %s, step %" PRIu64, r->checkpoints_path, state.progress.step);
  return SB_OK;
}

static sb_status begin_events(run *u) {
  sb_status status = SB_OK;
  u->step = sb_trainer_progress_of(u->trainer).step;
  if (u->world->rank == 0) {
    status = sb_events_open(u->r->events, u->step, &u->events);
    if (u->events) {
      json_t *event = sb_event("begin", u->step);
      json_object_set_new(event, "ranks", json_integer(u->world->size));
      json_object_set_new(event, "steps", json_integer((json_int_t)u->r->steps));
      json_object_set_new(event, "precision", json_string(u->precisions.name));
      SB_THEN(sb_events_write(u->events, event));
    }
  }
  return sb_world_agree(u->world, status);
}

static sb_status read_batch(void *context, uint64_t step, uint32_t *tokens) {
  return sb_train_data_read(((run *)context)->data, step, tokens);
}

/* Whoever changes precisions on the way, where a checkpoint left it. */
static sb_status make_adapt(run *u) {
  const sb_adapt_options options = sb_train_adapt_of(&u->r->adapt);
  const sb_adapt_setup setup = {.trainer = u->trainer,
                                .model = u->model,
                                .backend = u->backend,
                                .lowprec = &u->r->lowprec,
                                .map = &u->precisions.map,
                                .read = read_batch,
                                .context = u,
                                .events = u->events,
                                .folder = u->r->adapt.folder,
                                .seed = u->r->common.seed};
  if (!sb_train_adapts(&u->r->adapt)) return SB_OK;
  SB_TRY(sb_adapt_create(&setup, &options, &u->adapt));
  return u->seconds > 0 ? sb_adapt_resume(u->adapt, json_object_get(u->extra, "adapt")) : SB_OK;
}

/* All ranks make f32 products in one way, or results would depend on which rank had a sequence. */
static sb_status choose_products(run *u) {
  int able = sb_backend_can_split_f32(u->backend);
  SB_TRY(sb_mpi_check(MPI_Allreduce(MPI_IN_PLACE, &able, 1, MPI_INT, MPI_MIN, u->world->comm),
                      "MPI_Allreduce"));
  u->backend->split_f32 = able != 0;
  if (able) sb_log_line("products  f32 by AMX, each number as three of bf16");
  return SB_OK;
}

static sb_status prepare(run *u) {
  sb_train_request *r = u->r;
  bool has_weights;
  SB_TRY(sb_common_backend(u->world, &r->common, &u->backend));
  SB_TRY(choose_products(u));
  SB_TRY(begin_out(u, &has_weights));
  SB_TRY(load_model(u, has_weights));
  SB_TRY(sb_common_check_seqlen(&r->common, &u->model->config));
  r->trainer.seqlen = sb_common_seqlen(&r->common, &u->model->config);
  SB_TRY(sb_destination_require(&u->out, sb_export_source_bytes(u->model)));
  SB_TRY(open_data(u));
  SB_TRY(make_precisions(u));
  SB_TRY(make_trainer(u));
  SB_TRY(resume(u));
  SB_TRY(begin_events(u));
  return make_adapt(u);
}

/* ---- the run, and after it ---- */

static sb_status evaluates(void *context, bool begins) {
  run *u = context;
  if (u->r->eval_precision == SB_EVAL_TRAINED || !u->precisions.low) return SB_OK;
  return set_precisions(u, !begins);
}

static sb_status before_step(void *context, uint64_t step, sb_flop_shares *shares) {
  run *u = context;
  SB_TRY(sb_adapt_before(u->adapt, step, shares));
  sb_train_precisions_settle(u->model, &u->precisions);
  return SB_OK;
}
static sb_status after_step(void *context, const sb_step_report *report) {
  return sb_adapt_after(((run *)context)->adapt, report);
}
static json_t *extra_of(void *context) {
  return json_pack("{s:o}", "adapt", sb_adapt_state(((run *)context)->adapt));
}

static sb_status train(run *u) {
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

static sb_status write_result(run *u) {
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

static void tell_people(const run *u, bool complete) {
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

static sb_status tell(run *u, bool complete, double seconds) {
  const sb_run_result *s = &u->result;
  const sb_train_request *r = u->r;
  const double tokens =
      (double)(s->step - u->step) * (double)r->trainer.batch * (double)r->trainer.seqlen;
  tell_people(u, complete);
  sb_report_text(u->report, "model", r->model);
  sb_report_flag(u->report, "complete", complete);
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

static void release(run *u) {
  sb_adapt_free(&u->adapt);
  sb_events_close(&u->events);
  sb_checkpoints_close(&u->checkpoints);
  sb_trainer_free(&u->trainer);
  sb_train_data_close(&u->data);
  sb_train_data_close(&u->heldout);
  sb_precision_map_free(&u->precisions.map);
  if (u->model) sb_model_free(&u->model);
  if (u->backend) u->backend->op->destroy(u->backend);
  sb_destination_end(&u->out);
  json_decref(u->extra);
  json_decref(u->report);
}

sb_status sb_cmd_train(const sb_world *world, int argc, char **argv) {
  sb_train_request r = sb_train_defaults();
  const double start = sb_now();
  bool help;
  sb_status status = sb_train_parse(world, argc, argv, &r, &help);
  if (status == SB_OK && !help) {
    run u = {.world = world, .r = &r, .report = sb_report_begin(world, "train")};
    status = sb_world_agree(world, prepare(&u));
    SB_THEN(train(&u));
    const bool complete = status == SB_OK && u.result.step == r.steps;
    if (complete) status = write_result(&u);
    SB_THEN(tell(&u, complete, sb_now() - start));
    release(&u);
  }
  sb_train_request_free(&r);
  return status;
}
