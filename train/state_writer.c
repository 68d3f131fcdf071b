#include "train/state_writer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/memory.h"
#include "io/file.h"
#include "io/safetensors_writer.h"

enum { MASTER, MOMENT, SQUARE, ARRAYS };

struct sb_state_writer {
  const sb_optimizer *optimizer;
  sb_safetensors_writer *model, *moments;
  float *copy; /* [ARRAYS][elements]; NULL: the state itself is written */
  bool threaded;
  pthread_t thread;
  atomic_bool done;
  uint64_t sum;
  sb_status status;
  char message[1024], origin[SB_ORIGIN_SIZE]; /* of the thread's failure */
};

/* ---- values ---- */

typedef struct unit_values {
  const float *of[ARRAYS];
} unit_values;

static unit_values values_at(const sb_optimizer *o, const float *copy, size_t unit) {
  const size_t first = o->shares->units[unit].first, all = o->shares->elements;
  if (copy) return (unit_values){{copy + first, copy + all + first, copy + 2 * all + first}};
  const sb_optimizer_unit own = sb_optimizer_unit_at(o, unit);
  return (unit_values){{own.master, own.m, own.v}};
}

static uint64_t hash_unit(const sb_share *s, unit_values values) {
  uint64_t sum = 0;
  for (uint64_t array = 0; array < ARRAYS; array++) {
    const uint64_t place[3] = {s->tensor, s->first_row, array};
    sum += XXH64(values.of[array], s->count * sizeof(float), XXH64(place, sizeof place, 0));
  }
  return sum;
}

uint64_t sb_state_sum(const sb_optimizer *o) {
  uint64_t sum = 0;
  for (size_t u = 0; u < o->shares->count; u++)
    sum += hash_unit(&o->shares->units[u], values_at(o, NULL, u));
  return sum;
}

static void fill_copy(const sb_optimizer *o, float *copy) {
  const size_t all = o->shares->elements;
#pragma omp parallel for schedule(dynamic)
  for (size_t u = 0; u < o->shares->count; u++) {
    const sb_share *s = &o->shares->units[u];
    const unit_values from = values_at(o, NULL, u);
    for (size_t array = 0; array < ARRAYS; array++)
      memcpy(copy + array * all + s->first, from.of[array], s->count * sizeof(float));
  }
}

/* ---- writing ---- */

static sb_status write_units(sb_state_writer *w) {
  const sb_shares *shares = w->optimizer->shares;
  const sb_arch *arch = &shares->model->arch;
  for (size_t u = 0; u < shares->count; u++) {
    const sb_share *s = &shares->units[u];
    const unit_values values = values_at(w->optimizer, w->copy, u);
    const uint64_t at = (uint64_t)s->first_row * arch->tensors[s->tensor].cols * sizeof(float);
    const size_t bytes = s->count * sizeof(float);
    SB_TRY(sb_safetensors_writer_write(w->model, s->tensor, at, bytes, values.of[MASTER]));
    SB_TRY(sb_safetensors_writer_write(w->moments, s->tensor, at, bytes, values.of[MOMENT]));
    SB_TRY(sb_safetensors_writer_write(w->moments, arch->count + s->tensor, at, bytes,
                                       values.of[SQUARE]));
    w->sum += hash_unit(s, values);
  }
  SB_TRY(sb_safetensors_writer_finish(w->model));
  return sb_safetensors_writer_finish(w->moments);
}

static void *work(void *argument) {
  sb_state_writer *w = argument;
  w->status = write_units(w);
  if (w->status != SB_OK) {
    snprintf(w->message, sizeof w->message, "%s", sb_message());
    snprintf(w->origin, sizeof w->origin, "%s", sb_origin());
  }
  atomic_store(&w->done, true);
  return NULL;
}

/* Rank 0 creates what the others then join. */
static sb_status open_files(const sb_world *world, const sb_optimizer_info *info,
                            const char *folder, sb_state_writer *w) {
  static const char *const model_metadata[] = {"format", "pt", NULL};
  const sb_arch *arch = &w->optimizer->shares->model->arch;
  sb_optimizer_metadata metadata;
  sb_optimizer_specs moments = {0};
  sb_tensor_spec *weights = NULL;
  char model_path[SB_PATH_MAX], moments_path[SB_PATH_MAX];
  sb_status status = sb_path_join(model_path, folder, SB_STATE_MODEL_FILE);
  SB_THEN(sb_path_join(moments_path, folder, SB_OPTIMIZER_FILE));
  SB_THEN(sb_optimizer_specs_create(arch, &moments));
  SB_THEN(sb_alloc(&weights, arch->count, sizeof *weights, "tensors"));
  for (size_t i = 0; status == SB_OK && i < arch->count; i++) {
    weights[i] = moments.specs[i];
    weights[i].name = arch->tensors[i].name;
  }
  sb_optimizer_metadata_make(info, &metadata);
  for (int turn = 0; turn < 2; turn++) {
    const bool mine = (world->rank == 0) == (turn == 0);
    sb_status (*begin)(const char *, const sb_tensor_spec *, size_t, const char *const *,
                       sb_safetensors_writer **) =
        turn == 0 ? sb_safetensors_writer_create : sb_safetensors_writer_join;
    if (mine) SB_THEN(begin(model_path, weights, arch->count, model_metadata, &w->model));
    if (mine)
      SB_THEN(begin(moments_path, moments.specs, 2 * arch->count, metadata.pairs, &w->moments));
    status = sb_world_agree(world, status);
  }
  sb_optimizer_specs_free(&moments);
  sb_free(&weights);
  return status;
}

size_t sb_state_writer_bytes(size_t elements) {
  return ARRAYS * elements * sizeof(float);
}

/* *room: every rank has room for its copy. */
static sb_status make_copy(const sb_world *world, bool wait, sb_state_writer *w, bool *room) {
  const size_t elements = w->optimizer->shares->elements;
  int own = !wait && sb_alloc_raw(&w->copy, sb_state_writer_bytes(elements), 1, "copy") == SB_OK;
  SB_MPI(MPI_Allreduce(MPI_IN_PLACE, &own, 1, MPI_INT, MPI_MIN, world->comm));
  *room = own;
  if (*room)
    fill_copy(w->optimizer, w->copy);
  else
    sb_free(&w->copy);
  return SB_OK;
}

sb_status sb_state_writer_begin(const sb_world *world, const sb_optimizer *optimizer,
                                const sb_optimizer_info *info, const char *folder, bool wait,
                                sb_state_writer **out) {
  bool room = false;
  SB_TRY(sb_world_alloc(world, out, sizeof **out, "writer of a training state"));
  sb_state_writer *w = *out;
  w->optimizer = optimizer;
  sb_status status = open_files(world, info, folder, w);
  SB_THEN(make_copy(world, wait, w, &room));
  if (status == SB_OK) {
    w->threaded = room && pthread_create(&w->thread, NULL, work, w) == 0;
    if (!w->threaded) (void)work(w);
    return SB_OK;
  }
  atomic_store(&w->done, true);
  w->status = status;
  (void)sb_state_writer_end(out, &(uint64_t){0});
  return status;
}

bool sb_state_writer_done(const sb_state_writer *writer) {
  return atomic_load(&writer->done);
}

sb_status sb_state_writer_end(sb_state_writer **writer, uint64_t *sum) {
  sb_state_writer *w = *writer;
  if (!w) return SB_OK;
  if (w->threaded) pthread_join(w->thread, NULL);
  *sum += w->sum;
  const sb_status status =
      w->message[0] ? sb_fail_from(w->origin, w->status, "%s", w->message) : w->status;
  sb_safetensors_writer_free(&w->model);
  sb_safetensors_writer_free(&w->moments);
  sb_free(&w->copy);
  sb_free(writer);
  return status;
}
