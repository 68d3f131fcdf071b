#include "train/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "base/trace.h"
#include "folders/hf_folder.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/seal.h"
#include "io/space.h"
#include "mpi/large.h"
#include "train/state_writer.h"

#define FORMAT  "shardbits-training"
#define VERSION 1
#define WHAT    "a training state of shardbits (train writes it)"
#define ADVICE  "give it the same, or another --checkpoints"

struct sb_checkpoints {
  sb_checkpoints_setup setup;
  sb_checkpoint_dir dir;   /* rank 0's */
  sb_destination folder;   /* of the one being saved */
  sb_state_writer *writer; /* of the one being saved; else NULL */
  uint64_t step;
  bool alone;    /* the one being loaded: there is none before it */
  json_t *state; /* rank 0's, of the one being saved */
  char path[SB_PATH_MAX];
};

/* Bytes of a checkpoint's tensors. */
static uint64_t checkpoint_bytes(const sb_arch *arch) {
  return 3 * sizeof(float) * (uint64_t)arch->parameters;
}

sb_status sb_checkpoints_open(const sb_checkpoints_setup *setup, sb_checkpoints **out) {
  const sb_world *world = setup->world;
  SB_TRY(sb_world_alloc(world, out, sizeof **out, "checkpoints"));
  sb_checkpoints *c = *out;
  c->setup = *setup;
  c->dir = SB_NO_CHECKPOINT_DIR;
  sb_status status = SB_OK;
  if (world->rank == 0) status = sb_checkpoint_dir_open(setup->path, &c->dir);
  status = sb_world_agree(world, status);
  if (status != SB_OK) sb_checkpoints_close(out);
  return status;
}

void sb_checkpoints_close(sb_checkpoints **checkpoints) {
  sb_checkpoints *c = *checkpoints;
  if (!c) return;
  (void)sb_state_writer_end(&c->writer, &(uint64_t){0});
  sb_destination_end(&c->folder);
  sb_checkpoint_dir_close(&c->dir);
  json_decref(c->state);
  sb_free(checkpoints);
}

/* On rank 0. */
static sb_status require(const sb_checkpoints *c, const sb_checkpoint_plan *plan,
                         const sb_destination *out, uint64_t out_bytes) {
  const uint64_t bytes = checkpoint_bytes(&c->setup.optimizer->shares->model->arch);
  const bool shares = out && sb_space_is_shared(c->dir.path, out->folder.partial);
  char what[SB_PATH_MAX + 64];
  uint64_t most;
  int64_t last;
  SB_TRY(sb_checkpoint_dir_expect(&c->dir, plan, &most, &last));
  const int64_t at_end = last * (int64_t)bytes + (int64_t)out_bytes;
  uint64_t need = most * bytes;
  if (shares && at_end > 0 && (uint64_t)at_end > need) need = (uint64_t)at_end;
  snprintf(what, sizeof what, "%s (checkpoints at a time: %" PRIu64 "%s)", c->dir.path, most,
           shares ? ", then the output" : "");
  return sb_space_require(c->dir.path, what, need);
}

sb_status sb_checkpoints_require(const sb_checkpoints *c, const sb_checkpoint_plan *plan,
                                 const sb_destination *out, uint64_t out_bytes) {
  return sb_world_agree(c->setup.world,
                        c->setup.world->rank == 0 ? require(c, plan, out, out_bytes) : SB_OK);
}

/* What an interrupted run may promise. */
static void promise(uint64_t step) {
  char text[128];
  snprintf(text, sizeof text, "the same command goes on after step %" PRIu64, step);
  sb_cleanup_message(text);
}

static sb_status rotate(const sb_checkpoints *c) {
  const sb_world *world = c->setup.world;
  return sb_world_agree(world, world->rank == 0 ? sb_checkpoint_dir_rotate(&c->dir, c->setup.keep,
                                                                           c->setup.keep_every)
                                                : SB_OK);
}

/* ---- loading ---- */

/* The way out where a checkpoint cannot be read, in place of that of the file at fault: nobody can
 * fetch it again. */
static sb_status damaged(const sb_checkpoints *c, sb_status status) {
  char text[1024];
  if (status != SB_ERR_FORMAT && status != SB_ERR_IO) return status;
  snprintf(text, sizeof text, "%s", sb_message());
  const size_t folder = strlen(c->path);
  char *advice = strncmp(text, c->path, folder) == 0 ? strstr(text + folder, "; ") : NULL;
  if (advice) *advice = 0;
  return sb_fail_from(sb_origin(), status, "%s; remove %s to %s", text, c->path,
                      c->alone ? "begin anew" : "go on from the checkpoint before it");
}

static sb_status read_sum(const char *path, const json_t *root, uint64_t *sum) {
  const char *text;
  char *end;
  SB_TRY(sb_json_get_string(path, "", root, "sum", &text));
  *sum = strtoull(text, &end, 16);
  return *end ? sb_fail(SB_ERR_FORMAT, "%s: damaged: its sum is no number", path) : SB_OK;
}

/* Of training.json on rank 0. */
static sb_status read_state(const sb_checkpoints *c, json_t **state, uint64_t *sum) {
  char path[SB_PATH_MAX];
  json_t *root, *found;
  bool whole;
  SB_TRY(sb_path_join(path, c->path, SB_CHECKPOINT_STATE));
  SB_TRY(damaged(c, sb_sealed_read(path, &root, &whole)));
  sb_status status = damaged(c, sb_key_begin(root, path, FORMAT, VERSION, WHAT, ADVICE));
  if (status == SB_OK && !whole)
    status = damaged(c, sb_fail(SB_ERR_FORMAT, "%s: damaged: its checksum does not fit", path));
  SB_THEN(sb_key_compare(c->setup.key, json_object_get(root, "key"), path, "a state of training",
                         ADVICE));
  SB_THEN(damaged(c, read_sum(path, root, sum)));
  SB_THEN(damaged(c, sb_json_get_object(path, "", root, "state", &found)));
  if (status == SB_OK) *state = json_incref(found);
  json_decref(root);
  return status;
}

/* The text of rank 0's state for all. */
static sb_status share_state(const sb_world *world, json_t **state) {
  char *text = *state ? json_dumps(*state, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL, *got;
  uint64_t bytes = text ? strlen(text) : 0;
  json_error_t error;
  SB_TRY(sb_mpi_bcast(&bytes, sizeof bytes, 0, world->comm));
  sb_status status = sb_alloc(&got, bytes + 1, 1, "state of training");
  if (status == SB_OK && text) memcpy(got, text, bytes);
  free(text);
  SB_AGREE(world, status);
  status = sb_mpi_bcast(got, bytes, 0, world->comm);
  if (status == SB_OK && world->rank != 0) {
    *state = json_loadb(got, bytes, 0, &error);
    if (!*state) status = sb_fail(SB_ERR_MEMORY, "not enough memory for the state of training");
  }
  sb_free(&got);
  return sb_world_agree(world, status);
}

/* Own rows of the master weights. */
static sb_status read_masters(const char *path, const sb_shares *shares) {
  sb_safetensors *file;
  sb_status status = SB_OK;
  SB_TRY(sb_safetensors_open(path, &file));
  for (size_t u = 0; status == SB_OK && u < shares->count; u++) {
    const sb_share *s = &shares->units[u];
    const sb_model_tensor *t = &shares->model->arch.tensors[s->tensor];
    const sb_tensor_info *info = sb_safetensors_find(file, t->name);
    if (!info || info->dtype != SB_F32 || info->bytes != (uint64_t)t->rows * t->cols * 4)
      status =
          sb_fail(SB_ERR_FORMAT, "%s: damaged: tensor %s is not as it was written", path, t->name);
    SB_THEN(sb_safetensors_read(file, info, (uint64_t)s->first_row * t->cols * sizeof(float),
                                s->count * sizeof(float), s->master));
  }
  sb_safetensors_close(&file);
  return status;
}

static sb_status read_arrays(const sb_checkpoints *c, uint64_t expected) {
  const sb_world *world = c->setup.world;
  sb_optimizer *o = c->setup.optimizer;
  char model[SB_PATH_MAX], moments[SB_PATH_MAX];
  bool masters;
  SB_TRY(sb_path_join(model, c->path, SB_STATE_MODEL_FILE));
  SB_TRY(sb_path_join(moments, c->path, SB_OPTIMIZER_FILE));
  SB_AGREE(world, read_masters(model, o->shares));
  SB_TRY(sb_optimizer_file_read(world, moments, o, &masters));
  uint64_t sum = sb_state_sum(o);
  SB_TRY(sb_mpi_sum_u64(&sum, 1, world->comm));
  if (sum == expected) return SB_OK;
  return sb_fail(SB_ERR_FORMAT, "%s: damaged: weights or moments are not as they were written",
                 c->path);
}

sb_status sb_checkpoints_load(sb_checkpoints *c, json_t **state) {
  const sb_world *world = c->setup.world;
  SB_SPAN(SB_TRACE_DISK, "load checkpoint", SB_TRACE_NONE);
  struct {
    uint64_t step, sum;
    size_t count;
  } newest = {0};
  sb_status status = SB_OK;
  *state = NULL;
  if (world->rank == 0) {
    status = sb_checkpoint_dir_newest(&c->dir, &newest.count, &newest.step);
    c->alone = newest.count == 1;
    if (newest.count) {
      SB_THEN(sb_checkpoint_dir_name(&c->dir, newest.step, c->path));
      SB_THEN(read_state(c, state, &newest.sum));
    }
  }
  SB_GO(sb_world_agree(world, status));
  SB_GO(sb_mpi_bcast(&newest, sizeof newest, 0, world->comm));
  if (!newest.count) return SB_OK;
  c->alone = newest.count == 1;
  SB_GO(sb_mpi_bcast(c->path, sizeof c->path, 0, world->comm));
  SB_GO(share_state(world, state));
  SB_GO(damaged(c, read_arrays(c, newest.sum)));
  promise(newest.step);
  SB_GO(rotate(c)); /* the newest one is good: what an attempt that was cut off did not come to */
done:
  if (status != SB_OK) {
    json_decref(*state);
    *state = NULL;
  }
  return status;
}

/* ---- saving ---- */

static sb_status write_training(const sb_checkpoints *c, uint64_t sum) {
  char path[SB_PATH_MAX], text[32];
  snprintf(text, sizeof text, "%016" PRIx64, sum);
  SB_TRY(sb_path_join(path, c->folder.folder.partial, SB_CHECKPOINT_STATE));
  json_t *root =
      json_pack("{s:s, s:i, s:s, s:o, s:s, s:O}", "format", FORMAT, "version", VERSION, "program",
                SB_VERSION, "key", sb_key_json(c->setup.key), "sum", text, "state", c->state);
  const sb_status status =
      root ? sb_sealed_write(path, root) : sb_fail(SB_ERR_MEMORY, "%s: out of memory", path);
  json_decref(root);
  return status;
}

/* The way out of a failed write; what was saved before it is good. */
static sb_status advise(sb_status status) {
  if (status != SB_ERR_IO) return status;
  return sb_fail_from(
      sb_origin(), status,
      "%s; the checkpoint before it is good, and the same command goes on from there",
      sb_message());
}

static sb_status begin(sb_checkpoints *c, const sb_optimizer_info *info) {
  const sb_world *world = c->setup.world;
  const sb_arch *arch = &c->setup.optimizer->shares->model->arch;
  sb_status status =
      world->rank == 0 ? sb_checkpoint_dir_name(&c->dir, info->step, c->path) : SB_OK;
  SB_AGREE(world, status);
  SB_TRY(sb_mpi_bcast(c->path, sizeof c->path, 0, world->comm));
  SB_TRY(sb_destination_begin(world, c->path, true, c->setup.side_files, &c->folder));
  SB_TRY(sb_destination_require(&c->folder, checkpoint_bytes(arch)));
  if (world->rank == 0)
    status = sb_hf_folder_restate(c->folder.folder.partial,
                                  &c->setup.optimizer->shares->model->config, SB_F32);
  SB_AGREE(world, status);
  return sb_state_writer_begin(world, c->setup.optimizer, info, c->folder.folder.partial,
                               c->setup.wait, &c->writer);
}

sb_status sb_checkpoints_begin(sb_checkpoints *c, const sb_optimizer_info *info, json_t *state) {
  SB_SPAN(SB_TRACE_DISK, "begin checkpoint", info->step);
  bool saved;
  const char *path;
  sb_status status = sb_checkpoints_poll(c, true, &saved, &path);
  json_decref(c->state);
  c->state = state;
  c->step = info->step;
  SB_THEN(advise(begin(c, info)));
  if (status != SB_OK) sb_destination_end(&c->folder);
  return status;
}

/* All ranks have written. */
static sb_status finish(sb_checkpoints *c) {
  const sb_world *world = c->setup.world;
  uint64_t sum = 0;
  sb_status status = sb_world_agree(world, sb_state_writer_end(&c->writer, &sum));
  SB_THEN(sb_mpi_sum_u64(&sum, 1, world->comm));
  if (status == SB_OK)
    status = sb_destination_commit(&c->folder, world->rank == 0 ? write_training(c, sum) : SB_OK);
  if (status == SB_OK) promise(c->step);
  sb_destination_end(&c->folder);
  SB_TRY(advise(status));
  return rotate(c);
}

sb_status sb_checkpoints_poll(sb_checkpoints *c, bool wait, bool *saved, const char **path) {
  *saved = false;
  *path = c->path;
  if (!c->writer) return SB_OK;
  SB_SPAN(SB_TRACE_DISK, "finish checkpoint", c->step);
  int done = wait || sb_state_writer_done(c->writer);
  if (!wait) SB_MPI(MPI_Allreduce(MPI_IN_PLACE, &done, 1, MPI_INT, MPI_MIN, c->setup.world->comm));
  if (!done) return SB_OK;
  SB_TRY(finish(c));
  *saved = true;
  return SB_OK;
}
