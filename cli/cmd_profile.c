/* shardbits profile: what each low precision would cost a training step, linear by linear. */
#include <inttypes.h>
#include <math.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/text.h"
#include "base/trace.h"
#include "cli/commands.h"
#include "cli/profile_request.h"
#include "cli/profile_show.h"
#include "cli/report_json.h"
#include "cli/text_in.h"
#include "folders/hf_load.h"
#include "folders/hf_path.h"
#include "model/config_read.h"
#include "policy/truth.h"
#include "policy/warm_up.h"
#include "train/data.h"
#include "train/optimizer_file.h"

enum { BLOCK = 128 }; /* rows of a unit: how finely the model is spread over ranks */

typedef struct run {
  const sb_world *world;
  sb_profile_request *r;
  sb_backend *backend;
  sb_model *model;
  sb_shares shares;
  sb_optimizer optimizer;
  sb_train_data *data;
  sb_gradient_sums *sums; /* for moments and truth; NULL where neither is made */
  sb_pass *pass;
  uint32_t *tokens; /* [sequences of this rank, seqlen] */
  size_t seqlen;
  uint64_t step; /* of the run, whose batch is measured */
  double step_seconds;
  sb_lowprec_options lowprec;
  sb_profile_measured measured;
  sb_truth truth;
  struct {
    double first, next; /* work of the first pass of a phase, and of each that follows; 0: the phase
                           tells its progress itself */
    double done, last;  /* work of passes that have ended; share of the running one */
    size_t ended;
  } passes;
} run;

/* ---- progress: in passes, since each phase has few of them ---- */

static void begin_passes(run *u, const char *title, double first, double next, size_t count) {
  u->passes.first = first;
  u->passes.next = next;
  u->passes.done = u->passes.last = 0;
  u->passes.ended = 0;
  sb_progress_begin(title, first + next * (double)(count - 1));
}

static void end_passes(run *u) {
  u->passes.first = 0;
  sb_progress_end();
}

/* A share below the last one is of the next pass. */
static void hear_pass(void *context, double share) {
  run *u = context;
  if (u->passes.first <= 0) return;
  if (share < u->passes.last)
    u->passes.done += u->passes.ended++ == 0 ? u->passes.first : u->passes.next;
  u->passes.last = share;
  sb_progress_step(u->passes.done +
                   share * (u->passes.ended == 0 ? u->passes.first : u->passes.next));
}

/* ---- */

static sb_status load(run *u) {
  const sb_profile_request *r = u->r;
  const sb_blocking blocking = {BLOCK, BLOCK, SB_GRID_ASYMMETRIC};
  char count[SB_TEXT_SIZE];
  SB_PHASE(phase, "load");
  SB_TRY(sb_hf_load_f32(u->world, r->model, blocking, &u->model));
  sb_log_phase("load", sb_span_seconds(&phase), 0, "%s: %s parameters", r->model,
               sb_text_count(count, sizeof count, (double)u->model->arch.parameters));
  return SB_OK;
}

static sb_status check_shapes(const run *u, const sb_arch *arch) {
  sb_precision_map map;
  sb_status status = SB_OK;
  for (size_t p = 0; p < u->r->precisions.count; p++) {
    SB_TRY(sb_precision_map_create(arch, u->r->precisions.of[p], &map));
    SB_THEN(sb_precision_map_check(&map, arch, u->r->model));
    sb_precision_map_free(&map);
  }
  return status;
}

static sb_status open_data(run *u, const sb_config *config) {
  const sb_profile_request *r = u->r;
  const sb_train_data_setup setup = {.world = u->world,
                                     .sources = r->sources.sources,
                                     .count = r->sources.count,
                                     .width = r->common.token_width,
                                     .vocab = config->vocab,
                                     .seqlen = u->seqlen,
                                     .batch = r->batch,
                                     .seed = r->common.seed};
  SB_TRY(sb_train_data_open(&setup, &u->data));
  return sb_world_alloc(u->world, &u->tokens,
                        sb_pass_local(u->world, r->batch) * u->seqlen * sizeof *u->tokens,
                        "tokens");
}

static sb_status make_pass(run *u) {
  const sb_profile_request *r = u->r;
  sb_pass_setup setup = {.model = u->model,
                         .backend = u->backend,
                         .tokens = u->tokens,
                         .sequences = r->batch,
                         .seqlen = u->seqlen,
                         .gradients = true,
                         .all_gradients = true,
                         .ticker = {hear_pass, u},
                         .activation_bytes = sb_common_activation_bytes(&r->common, u->backend)};
  setup.keep_bytes = sb_pass_spare_bytes(&setup);
  SB_TRY(sb_pass_create(&setup, &u->pass));
  if (r->optimizer && !r->truth) return SB_OK;
  return sb_gradient_sums_create(&u->shares, u->backend, r->batch, &u->sums);
}

static sb_status set_batch(void *context, uint64_t step) {
  run *u = context;
  SB_TRY(sb_train_data_read(u->data, step, u->tokens));
  sb_pass_set_batch(u->pass, u->tokens, sb_mix64_with(u->r->common.seed, step));
  return SB_OK;
}

/* What is predicted of updates is far too large where moments are of few batches: hundreds of times
 * with one, some two times with four, and settles with eight (docs/snip.md). */
static void warn_of_few(uint64_t batches) {
  if (batches < 8)
    sb_log_line("warning: moments of %" PRIu64 " batch%s predict too large changes of updates, %s; "
                "take 8 or more",
                batches, batches == 1 ? "" : "es",
                batches == 1 ? "a hundred times and more" : "up to several times");
}

static sb_status check_moments(const sb_profile_request *r, sb_optimizer_info *info) {
  SB_TRY(sb_optimizer_file_info(r->optimizer, info));
  if (info->updates > 0) return SB_OK;
  return sb_fail(SB_ERR_RANGE, "%s: has moments of no update yet; leave --optimizer out",
                 r->optimizer);
}

static sb_status read_moments(run *u) {
  sb_profile_request *r = u->r;
  sb_optimizer_info info = {0};
  bool masters;
  SB_AGREE(u->world, check_moments(r, &info));
  SB_TRY(sb_optimizer_file_read(u->world, r->optimizer, &u->optimizer, &masters));
  r->adamw = info.adamw;
  u->step = info.step;
  sb_log_line("optimizer %s: moments of %" PRIu64 " updates%s, at step %" PRIu64, r->optimizer,
              info.updates, masters ? " and masters" : "", info.step);
  warn_of_few(info.updates);
  return SB_OK;
}

static sb_status warm_up(run *u) {
  const sb_profile_request *r = u->r;
  const sb_warm_up_setup setup = {.pass = u->pass,
                                  .sums = u->sums,
                                  .optimizer = &u->optimizer,
                                  .adamw = r->adamw,
                                  .steps = r->warmup,
                                  .set_batch = set_batch,
                                  .context = u};
  SB_PHASE(phase, "moments");
  begin_passes(u, "moments", 1, 1, r->warmup);
  const sb_status status = sb_warm_up(&setup, &u->step_seconds);
  end_passes(u);
  SB_TRY(status);
  u->step = r->warmup;
  sb_log_phase("moments", sb_span_seconds(&phase), 0,
               "of %zu batch%s at these weights: --optimizer has not given them", r->warmup,
               r->warmup == 1 ? "" : "es");
  return SB_OK;
}

static sb_status read_config(const char *path, sb_config *config, sb_arch *arch) {
  SB_TRY(sb_hf_path_check_model(path));
  SB_TRY(sb_config_read_stored(path, config));
  return sb_arch_create(config, arch);
}

/* All that can be looked at without the weights: a wrong name is not worth waiting for them. */
static sb_status prepare_cheap(run *u) {
  const sb_profile_request *r = u->r;
  sb_config config;
  sb_arch arch = {0};
  sb_optimizer_info info = {0};
  sb_status status = sb_world_agree(u->world, read_config(r->model, &config, &arch));
  SB_THEN(sb_common_check_seqlen(&r->common, &config));
  if (status == SB_OK) u->seqlen = sb_common_seqlen(&r->common, &config);
  SB_THEN(sb_world_agree(u->world, check_shapes(u, &arch)));
  SB_THEN(sb_text_in_list(u->world, &r->common, r->model, NULL, &u->r->sources));
  SB_THEN(open_data(u, &config));
  if (r->optimizer) SB_THEN(sb_world_agree(u->world, check_moments(r, &info)));
  sb_arch_free(&arch);
  return status;
}

static sb_status prepare(run *u) {
  SB_TRY(sb_common_backend(u->world, &u->r->common, &u->backend));
  SB_TRY(prepare_cheap(u));
  SB_TRY(load(u));
  sb_status status = sb_shares_create(u->model, &u->shares);
  SB_THEN(sb_optimizer_create(&u->shares, &u->optimizer));
  SB_AGREE(u->world, status);
  SB_TRY(make_pass(u));
  SB_TRY(u->r->optimizer ? read_moments(u) : warm_up(u));
  return sb_world_agree(u->world, set_batch(u, u->step));
}

static sb_status measure(run *u) {
  const sb_profile_request *r = u->r;
  const sb_profile_setup setup = {.pass = u->pass,
                                  .model = u->model,
                                  .backend = u->backend,
                                  .optimizer = &u->optimizer,
                                  .adamw = r->adamw,
                                  .step = u->step,
                                  .precisions = r->precisions.of,
                                  .precision_count = r->precisions.count,
                                  .lowprec = &u->lowprec,
                                  .seed = r->common.seed};
  SB_PHASE(phase, "profile");
  /* the noise step, and the longer step of errors, which are of each precision */
  begin_passes(u, "profile", 1, 2 + (double)r->precisions.count, 2);
  const sb_status measured = sb_profile_measure(&setup, &u->measured);
  end_passes(u);
  SB_TRY(measured);
  const sb_profile_measured *m = &u->measured;
  sb_log_phase("profile", sb_span_seconds(&phase), 0,
               "slopes %.2f s, noise step %.2f s, errors %.2f s", m->slope_seconds,
               m->noise_seconds, m->error_seconds);
  if (!r->truth) return SB_OK;
  sb_progress_begin("truth", 1.0);
  const sb_truth_setup truth = {.profile = &setup,
                                .measured = &u->measured,
                                .sums = u->sums,
                                .linears = r->truth_linears,
                                .policies = r->truth_policies,
                                .share = r->truth_share,
                                .ticker = sb_progress_ticker()};
  const sb_status status = sb_truth_measure(&truth, &u->truth);
  sb_progress_end();
  return status;
}

static sb_status tell(const run *u) {
  const sb_profile_request *r = u->r;
  FILE *out = sb_common_prints(u->world, &r->common) ? stdout : NULL;
  sb_profile_show(out, &u->measured, u->step_seconds);
  if (r->truth) sb_profile_show_truth(out, &u->measured, &u->truth);
  json_t *object = NULL;
  sb_status status = sb_world_agree(
      u->world, u->world->rank == 0 && r->common.json
                    ? sb_profile_describe(r->common.json, &u->measured.profile, &object)
                    : SB_OK);
  SB_THEN(sb_report_write(u->world, r->common.json, object));
  json_decref(object);
  return status;
}

static void release(run *u) {
  sb_truth_free(&u->truth);
  sb_profile_measured_free(&u->measured);
  sb_pass_free(&u->pass);
  sb_gradient_sums_free(&u->sums);
  sb_train_data_close(&u->data);
  sb_free(&u->tokens);
  sb_optimizer_free(&u->optimizer);
  sb_shares_free(&u->shares);
  if (u->model) sb_model_free(&u->model);
  if (u->backend) u->backend->op->destroy(u->backend);
}

sb_status sb_cmd_profile(const sb_world *world, int argc, char **argv) {
  sb_profile_request r;
  bool help;
  sb_status status = sb_profile_request_parse(world, argc, argv, &r, &help);
  if (status == SB_OK && !help) {
    run u = {.world = world, .r = &r, .lowprec = sb_rounding_settle(&r.rounding)};
    if (!r.common.json)
      sb_log_line(
          "warning: without --json the profile is shown and not kept; policy reads the file "
          "of --json");
    if (!r.optimizer) warn_of_few(r.warmup);
    status = sb_world_agree(world, prepare(&u));
    SB_THEN(measure(&u));
    SB_THEN(tell(&u));
    release(&u);
  }
  sb_profile_request_free(&r);
  return status;
}
