#include "quant/tune_checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/memory.h"
#include "folders/checkpoint_files.h"
#include "io/json.h"
#include "mpi/large.h"

static const double SELDOM = 50; /* times as long between two savings as one takes */

static const sb_checkpoint_files_kind kind = {
    .format = "shardbits scales in training",
    .version = 3, /* 2 had no checksum of PATH */
    .what = "scales in training of shardbits (quantize --checkpoint writes them)",
    .state = "scales trained",
    .advice = "give it the same, or remove that file to train anew",
    .suffix = "scales",
};

/* What PATH says, beside its key. */
typedef struct state {
  sb_tune_checkpoint_progress progress;
  uint64_t half; /* of PATH.scales, 0 or 1 */
  uint64_t sum;  /* of all numbers' hashes */
} state;

struct sb_tune_checkpoint {
  sb_checkpoint_files files;
  sb_scales *scales;
  size_t numbers; /* of all ranks and parts */
  size_t *own;    /* [parts]: the first of this rank's, of each part */
  uint64_t half;  /* that is to be written next */
  double due;     /* when it is worth saving again; rank 0's counts */
};

static sb_status lay_out(sb_tune_checkpoint *t, int ranks, int rank) {
  const size_t parts = sb_scales_parts(t->scales);
  size_t *starts = NULL;
  sb_status status = sb_alloc(&starts, (size_t)ranks + 1, sizeof *starts, "scales on disk");
  SB_THEN(sb_alloc(&t->own, parts, sizeof *t->own, "scales on disk"));
  for (size_t part = 0; status == SB_OK && part < parts; part++) {
    sb_scales_owners(t->scales, part, starts);
    t->own[part] = t->numbers + starts[rank];
    t->numbers += starts[ranks];
  }
  sb_free(&starts);
  return status;
}

static size_t bytes_of_half(const sb_tune_checkpoint *t) {
  return t->numbers * SB_SCALES_STATE_BYTES;
}

/* This rank's numbers of a part: in its memory, and in the file. */
typedef struct share {
  uint8_t *memory;
  size_t bytes;
  uint64_t at;
} share;

static share share_of(const sb_tune_checkpoint *t, uint64_t half, size_t part) {
  const size_t before = sb_scales_before(t->scales, part),
               end = sb_scales_before(t->scales, part + 1);
  return (share){sb_scales_state(t->scales) + before * SB_SCALES_STATE_BYTES,
                 (end - before) * SB_SCALES_STATE_BYTES,
                 half * bytes_of_half(t) + t->own[part] * SB_SCALES_STATE_BYTES};
}

/* Each number's, seeded with its number, added up: who owns it does not matter. Collective. */
static sb_status sum_up(const sb_tune_checkpoint *t, uint64_t *sum) {
  *sum = 0;
  for (size_t part = 0; part < sb_scales_parts(t->scales); part++) {
    const share s = share_of(t, 0, part);
    for (size_t i = 0; i * SB_SCALES_STATE_BYTES < s.bytes; i++)
      *sum += XXH64(s.memory + i * SB_SCALES_STATE_BYTES, SB_SCALES_STATE_BYTES, t->own[part] + i);
  }
  return sb_mpi_sum_u64(sum, 1, t->files.world->comm);
}

static sb_status write_half(const sb_tune_checkpoint *t, uint64_t half) {
  for (size_t part = 0; part < sb_scales_parts(t->scales); part++) {
    const share s = share_of(t, half, part);
    if (s.bytes > 0)
      SB_TRY(sb_checkpoint_files_write(&t->files, s.at, s.memory, s.bytes, 2 * bytes_of_half(t)));
  }
  return sb_checkpoint_files_sync(&t->files);
}

static sb_status read_half(const sb_tune_checkpoint *t, uint64_t half) {
  for (size_t part = 0; part < sb_scales_parts(t->scales); part++) {
    const share s = share_of(t, half, part);
    if (s.bytes > 0) SB_TRY(sb_file_read_at(t->files.fd, t->files.data, s.at, s.memory, s.bytes));
  }
  return SB_OK;
}

static sb_status parse(void *context, const char *path, const json_t *root) {
  state *s = context;
  uint64_t steps;
  const char *text;
  char *end;
  SB_TRY(sb_json_get_u64(path, "", root, "steps", INT32_MAX, &steps));
  SB_TRY(sb_json_get_real(path, "", root, "before", &s->progress.before));
  SB_TRY(sb_json_get_u64(path, "", root, "half", 1, &s->half));
  SB_TRY(sb_json_get_string(path, "", root, "sum", &text));
  s->progress.steps = steps;
  s->sum = strtoull(text, &end, 16);
  return *end ? sb_fail(SB_ERR_FORMAT, "%s: damaged: its sum is no number", path) : SB_OK;
}

static sb_status open_files(sb_tune_checkpoint *t, const char *path, const sb_key *key,
                            const sb_world *world, sb_tune_checkpoint_progress *progress) {
  state s = {0};
  uint64_t sum;
  bool resumes;
  SB_TRY(sb_checkpoint_files_open(world, &kind, path, key, parse, &s, &resumes, &t->files));
  if (!resumes) return SB_OK;
  SB_TRY(sb_mpi_bcast(&s, sizeof s, 0, world->comm));
  SB_AGREE(world, read_half(t, s.half));
  SB_TRY(sum_up(t, &sum));
  if (sum != s.sum)
    return sb_fail(SB_ERR_FORMAT, "%s: damaged; remove %s to train anew", t->files.data,
                   t->files.path);
  sb_scales_restore(t->scales, s.progress.steps);
  *progress = s.progress;
  t->half = 1 - s.half;
  return SB_OK;
}

sb_status sb_tune_checkpoint_open(const char *path, const sb_key *key, const sb_world *world,
                                  sb_scales *scales, sb_tune_checkpoint_progress *progress,
                                  sb_tune_checkpoint **out) {
  *progress = (sb_tune_checkpoint_progress){0};
  sb_status status = sb_alloc(out, 1, sizeof **out, "scales on disk");
  if (status == SB_OK) {
    (*out)->files.fd = -1;
    (*out)->scales = scales;
    status = lay_out(*out, world->size, world->rank);
  }
  status = sb_world_agree(world, status);
  SB_THEN(open_files(*out, path, key, world, progress));
  if (status != SB_OK) sb_tune_checkpoint_close(out);
  return status;
}

static json_t *describe(const sb_tune_checkpoint_progress *progress, uint64_t half, uint64_t sum) {
  char text[32];
  snprintf(text, sizeof text, "%016llx", (unsigned long long)sum);
  return json_pack("{s:I, s:f, s:I, s:s}", "steps", (json_int_t)progress->steps, "before",
                   progress->before, "half", (json_int_t)half, "sum", text);
}

sb_status sb_tune_checkpoint_offer(sb_tune_checkpoint *t,
                                   const sb_tune_checkpoint_progress *progress) {
  const sb_world *world = t->files.world;
  const double begun = sb_now();
  uint8_t due = begun >= t->due;
  uint64_t sum;
  SB_TRY(sb_mpi_bcast(&due, sizeof due, 0, world->comm));
  if (!due) return SB_OK;
  SB_AGREE(world, write_half(t, t->half));
  SB_TRY(sum_up(t, &sum));
  SB_TRY(sb_checkpoint_files_commit(&t->files,
                                    world->rank == 0 ? describe(progress, t->half, sum) : NULL));
  t->half = 1 - t->half;
  const double now = sb_now();
  t->due = now + SELDOM * (now - begun);
  return SB_OK;
}

void sb_tune_checkpoint_close(sb_tune_checkpoint **checkpoint) {
  sb_tune_checkpoint *t = *checkpoint;
  if (!t) return;
  sb_checkpoint_files_close(&t->files);
  sb_free(&t->own);
  sb_free(checkpoint);
}

void sb_tune_checkpoint_remove(const sb_world *world, const char *path) {
  sb_checkpoint_files_remove(world, &kind, path);
}
