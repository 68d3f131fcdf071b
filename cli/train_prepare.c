/* What `train` does before its first step. */
#include <inttypes.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/trace.h"
#include "cli/text_in.h"
#include "cli/train.h"
#include "folders/companions.h"
#include "folders/export.h"
#include "folders/fresh_model.h"
#include "folders/hf_load.h"
#include "folders/hf_path.h"
#include "model/config_read.h"
#include "policy/adapt_folder.h"
#include "train/run_key.h"

enum { BLOCK = 128 }; /* rows of a unit: how finely the model is spread over ranks */

static bool is_folder(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* MODEL is a folder, or a configuration file; the same on all ranks, as rank 0 sees it. */
static sb_status begin_out(sb_train_command *u, bool *has_weights) {
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

static sb_status load_model(sb_train_command *u, bool has_weights) {
  const sb_train_request *r = u->r;
  const sb_blocking blocking = {BLOCK, BLOCK, SB_GRID_ASYMMETRIC};
  char count[SB_TEXT_SIZE];
  SB_PHASE(phase, "load");
  SB_TRY(has_weights ? sb_hf_load_f32(u->world, r->model, blocking, &u->model)
                     : sb_fresh_model(u->world, r->model, r->common.seed, blocking, &u->model));
  sb_log_phase("load", sb_span_seconds(&phase), 0, "%s: %s parameters%s", r->model,
               sb_text_count(count, sizeof count, (double)sb_export_source_bytes(u->model) / 4),
               has_weights ? "" : ", random");
  if (u->model->config.dropout > 0)
    sb_log_line("load      attention_dropout %g of its configuration has no effect: training here "
                "has no dropout",
                u->model->config.dropout);
  return SB_OK;
}

static sb_status open_data(sb_train_command *u, const sb_config *config) {
  sb_train_request *r = u->r;
  sb_train_data_setup setup = {.world = u->world,
                               .sources = r->sources.sources,
                               .count = r->sources.count,
                               .width = r->common.token_width,
                               .vocab = config->vocab,
                               .seqlen = r->trainer.seqlen,
                               .batch = r->trainer.batch,
                               .seed = r->common.seed};
  char tokens[SB_TEXT_SIZE];
  SB_TRY(sb_train_data_open(&setup, &u->data));
  const double windows = (double)sb_train_data_windows(u->data);
  sb_log_line("tokens    %s; %.3g passes in %zu step%s of %zu sequence%s of %zu tokens",
              sb_text_count(tokens, sizeof tokens, (double)sb_train_data_tokens(u->data)),
              (double)r->steps * (double)r->trainer.batch / windows, r->steps, sb_text_s(r->steps),
              r->trainer.batch, sb_text_s(r->trainer.batch), r->trainer.seqlen);
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
static sb_status take_optimizer(sb_train_command *u) {
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
  progress.step = info.step;
  progress.updates = info.updates;
  sb_trainer_resume(u->trainer, &progress);
  sb_log_line("optimizer %s: moments of %" PRIu64 " updates, at step %" PRIu64, path, info.updates,
              info.step);
  return SB_OK;
}

static sb_status check_optimizer(const sb_train_request *r) {
  sb_optimizer_info info = {0};
  if (!r->optimizer) return SB_OK;
  SB_TRY(sb_optimizer_file_info(r->optimizer, &info));
  if (info.step < r->stop_at) return SB_OK;
  return sb_fail(SB_ERR_RANGE, "%s: is of step %" PRIu64 ", and this run ends with step %zu",
                 r->optimizer, info.step, r->stop_at);
}

/* What the GEMMs of the trainer's pass run in: the map, or high for held-out loss. */
sb_status sb_train_set_precisions(sb_train_command *u, bool as_trained) {
  return sb_pass_set_precisions(sb_trainer_pass(u->trainer),
                                as_trained && u->precisions.low ? &u->precisions.map : NULL,
                                &u->r->lowprec);
}

static sb_status make_precisions(sb_train_command *u, const sb_arch *arch) {
  SB_AGREE(u->world, sb_train_precisions_make(u->r, arch, &u->precisions));
  const sb_train_precisions *p = &u->precisions;
  const double fp4 = 100 * p->shares.fp4, fp8 = 100 * p->shares.fp8;
  if (fp4 > 0 && fp8 > 0)
    sb_log_line(
        "precision %s: %.1f%% of the FLOPs of linear layers in fp4, %.1f%% in fp8, emulated",
        p->name, fp4, fp8);
  else if (p->low)
    sb_log_line("precision %s: %.1f%% of the FLOPs of linear layers in %s, emulated", p->name,
                fp4 + fp8, fp4 > 0 ? "fp4" : "fp8");
  return SB_OK;
}

static sb_status make_trainer(sb_train_command *u) {
  sb_train_request *r = u->r;
  r->trainer.seed = r->common.seed;
  r->trainer.activation_bytes = sb_common_activation_bytes(&r->common, u->backend);
  SB_TRY(sb_trainer_create(u->model, u->backend, &r->trainer, &u->trainer));
  SB_TRY(take_optimizer(u));
  SB_TRY(sb_train_set_precisions(u, true));
  const sb_run_key_parts parts = {
      .model = u->model, .backend = u->backend, .trainer = u->trainer, .data = u->data};
  SB_TRY(sb_run_key_make(&parts, &u->key));
  sb_key_add(&u->key, "precision", "precision (--precision, --policy, --keep-first, --keep-last)",
             "%s", u->precisions.name);
  sb_train_adapt_key(&r->adapt, &u->key);
  sb_rounding_key(&r->rounding, u->precisions.low || r->adapt.every, &u->key);
  return SB_OK;
}

/* Room for what this attempt will save, and write. */
static sb_status require_room(const sb_train_command *u) {
  const sb_train_request *r = u->r;
  const sb_checkpoint_plan plan = {.from = sb_trainer_progress_of(u->trainer).step,
                                   .stop_at = r->stop_at,
                                   .save_every = r->save_every,
                                   .keep = r->keep,
                                   .keep_every = r->keep_every};
  return sb_checkpoints_require(u->checkpoints, &plan, r->stop_at == r->steps ? &u->out : NULL,
                                sb_export_source_bytes(u->model));
}

/* The newest checkpoint, if there is one, is where this attempt begins. */
static sb_status resume(sb_train_command *u) {
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
  if (!found) return require_room(u);
  sb_status status = sb_run_state_parse(found, &state);
  json_decref(found);
  u->extra = state.extra;
  SB_TRY(status);
  if (state.progress.step > r->stop_at)
    return sb_fail(SB_ERR_RANGE, "%s: has step %" PRIu64 ", behind --stop-at %zu",
                   r->checkpoints_path, state.progress.step, r->stop_at);
  sb_trainer_resume(u->trainer, &state.progress);
  u->seconds = state.seconds;
  u->loss = state.loss;
  sb_log_line("training  goes on from %s, step %" PRIu64, r->checkpoints_path, state.progress.step);
  return require_room(u);
}

static sb_status begin_events(sb_train_command *u) {
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
  return sb_train_data_read(((sb_train_command *)context)->data, step, tokens);
}

/* Whoever changes precisions on the way, where a checkpoint left it. */
static sb_status make_adapt(sb_train_command *u) {
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
static sb_status choose_products(sb_train_command *u) {
  int able = sb_backend_can_split_f32(u->backend);
  SB_TRY(sb_mpi_check(MPI_Allreduce(MPI_IN_PLACE, &able, 1, MPI_INT, MPI_MIN, u->world->comm),
                      "MPI_Allreduce"));
  u->backend->split_f32 = able != 0;
  if (able) sb_log_line("products  f32 by AMX, each number as three of bf16");
  return SB_OK;
}

static sb_status check_adapt(const sb_train_command *u, const sb_arch *arch) {
  const sb_train_adapt *a = &u->r->adapt;
  const sb_adapt_options options = sb_train_adapt_of(a);
  SB_AGREE(u->world, sb_adapt_check(arch, &options));
  return sb_world_agree(u->world,
                        a->every && u->world->rank == 0 ? sb_adapt_folder_check(a->folder) : SB_OK);
}

/* Whether announced biases are stored, and zero, is found when weights are loaded. */
static sb_status read_config(const char *path, bool has_weights, sb_config *out) {
  SB_TRY(has_weights ? sb_hf_path_check_model(path) : sb_hf_path_check(path));
  return has_weights ? sb_config_read_stored(path, out) : sb_config_read(path, out);
}

/* All that can be looked at without the weights: a wrong name is not worth waiting for them. */
static sb_status prepare_cheap(sb_train_command *u, bool has_weights) {
  sb_train_request *r = u->r;
  sb_config config;
  sb_arch arch = {0};
  SB_AGREE(u->world, read_config(r->model, has_weights, &config));
  SB_TRY(sb_common_check_seqlen(&r->common, &config));
  r->trainer.seqlen = sb_common_seqlen(&r->common, &config);
  SB_TRY(sb_text_in_list(u->world, &r->common, r->model, r->common.out, &r->sources));
  SB_TRY(sb_text_in_list(u->world, &r->common, r->model, r->common.out, &r->eval_sources));
  SB_TRY(open_data(u, &config));
  SB_AGREE(u->world, check_optimizer(r));
  sb_status status = sb_world_agree(u->world, sb_arch_create(&config, &arch));
  SB_THEN(make_precisions(u, &arch));
  SB_THEN(check_adapt(u, &arch));
  sb_arch_free(&arch);
  return status;
}

sb_status sb_train_prepare(sb_train_command *u) {
  sb_train_request *r = u->r;
  bool has_weights;
  u->loss = NAN;
  SB_TRY(sb_common_backend(u->world, &r->common, &u->backend));
  SB_TRY(choose_products(u));
  SB_TRY(begin_out(u, &has_weights));
  SB_TRY(prepare_cheap(u, has_weights));
  SB_TRY(load_model(u, has_weights));
  SB_TRY(sb_destination_require(&u->out, sb_export_source_bytes(u->model)));
  SB_TRY(make_trainer(u));
  SB_TRY(resume(u));
  SB_TRY(begin_events(u));
  return make_adapt(u);
}

void sb_train_release(sb_train_command *u) {
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
