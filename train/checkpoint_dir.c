#include "train/checkpoint_dir.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "io/outdir.h"
#include "io/unfinished.h"

enum { DIGITS = 8 };
#define PREFIX      "step-"
#define NAME_LENGTH (sizeof PREFIX - 1 + DIGITS)
#define LOCK_NAME   "lock"

/* Whether `name` is, or begins with, the name of a checkpoint. */
static bool parse(const char *name, uint64_t *step) {
  if (strncmp(name, PREFIX, sizeof PREFIX - 1) != 0) return false;
  name += sizeof PREFIX - 1;
  if (strspn(name, "0123456789") != DIGITS) return false;
  *step = strtoull(name, NULL, 10);
  return true;
}

sb_status sb_checkpoint_dir_name(const sb_checkpoint_dir *dir, uint64_t step, char *out) {
  char name[32];
  snprintf(name, sizeof name, PREFIX "%0*llu", DIGITS, (unsigned long long)step);
  return sb_path_join(out, dir->path, name);
}

/* Beginning to write a checkpoint removes what a killed run left of it. */
static void clear(const sb_checkpoint_dir *dir, uint64_t step) {
  char path[SB_PATH_MAX];
  sb_outdir out;
  if (sb_checkpoint_dir_name(dir, step, path) == SB_OK &&
      sb_outdir_begin(path, true, &out) == SB_OK)
    (void)sb_outdir_abandon(&out);
}

static bool has_state(const sb_checkpoint_dir *dir, const char *name) {
  char folder[SB_PATH_MAX], file[SB_PATH_MAX];
  return sb_path_join(folder, dir->path, name) == SB_OK &&
         sb_path_join(file, folder, SB_CHECKPOINT_STATE) == SB_OK && access(file, F_OK) == 0;
}

/* What killed runs left: all unfinished names. Best effort. */
static void clear_all(const sb_checkpoint_dir *dir) {
  DIR *list = opendir(dir->path);
  uint64_t step;
  if (!list) return;
  for (struct dirent *e; (e = readdir(list));)
    if (parse(e->d_name, &step) && strlen(e->d_name) > NAME_LENGTH) clear(dir, step);
  closedir(list);
}

sb_status sb_checkpoint_dir_open(const char *path, sb_checkpoint_dir *out) {
  char lock[SB_PATH_MAX];
  *out = SB_NO_CHECKPOINT_DIR;
  if (strlen(path) + 64 >= SB_PATH_MAX)
    return sb_fail(SB_ERR_IO, "%.64s...: the name is too long", path);
  snprintf(out->path, sizeof out->path, "%s", path);
  SB_TRY(sb_path_join(lock, path, LOCK_NAME));
  SB_TRY(sb_cleanup_add(path, &out->slot));
  const bool made = mkdir(path, 0777) == 0;
  const int error = made || errno == EEXIST ? 0 : errno;
  const sb_status status =
      error ? sb_fail(SB_ERR_IO, "%s: cannot be created for checkpoints: %s", path, strerror(error))
            : sb_lock_take(lock, path, &out->lock);
  if (status != SB_OK) {
    if (made) (void)rmdir(path);
    sb_cleanup_drop(out->slot);
    *out = SB_NO_CHECKPOINT_DIR;
    return status;
  }
  clear_all(out);
  return SB_OK;
}

void sb_checkpoint_dir_close(sb_checkpoint_dir *dir) {
  if (dir->lock.fd < 0) return;
  sb_lock_release(&dir->lock);
  (void)rmdir(dir->path); /* fails where anything is in it */
  sb_cleanup_drop(dir->slot);
}

static int ascending(const void *a, const void *b) {
  const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static int is_checkpoint(const struct dirent *e) {
  uint64_t step;
  return parse(e->d_name, &step) && strlen(e->d_name) == NAME_LENGTH;
}

/* steps[count], ascending, of all checkpoints. Release with sb_free. */
static sb_status list_steps(const sb_checkpoint_dir *dir, uint64_t **steps, size_t *count) {
  struct dirent **names = NULL;
  *count = 0;
  const int entries = scandir(dir->path, &names, is_checkpoint, NULL);
  if (entries < 0)
    return sb_fail(SB_ERR_IO, "%s: cannot be listed: %s", dir->path, strerror(errno));
  const sb_status status = sb_alloc(steps, (size_t)entries, sizeof **steps, "checkpoints");
  for (int i = 0; i < entries; i++) {
    if (status == SB_OK && has_state(dir, names[i]->d_name) &&
        parse(names[i]->d_name, &(*steps)[*count]))
      ++*count;
    free(names[i]);
  }
  free(names);
  if (status == SB_OK) qsort(*steps, *count, sizeof **steps, ascending);
  return status;
}

sb_status sb_checkpoint_dir_newest(const sb_checkpoint_dir *dir, size_t *count, uint64_t *step) {
  uint64_t *steps = NULL;
  SB_TRY(list_steps(dir, &steps, count));
  if (*count) *step = steps[*count - 1];
  sb_free(&steps);
  return SB_OK;
}

sb_status sb_checkpoint_dir_remove(const sb_checkpoint_dir *dir, uint64_t step) {
  char path[SB_PATH_MAX], start[SB_PATH_MAX + 16], unfinished[SB_PATH_MAX];
  SB_TRY(sb_checkpoint_dir_name(dir, step, path));
  snprintf(start, sizeof start, "%s.partial-", path);
  SB_TRY(sb_unfinished_name(start, unfinished));
  if (rename(path, unfinished) == 0) return sb_remove_tree(unfinished);
  if (errno == ENOENT) return SB_OK;
  return sb_fail(SB_ERR_IO, "%s: cannot be removed: %s", path, strerror(errno));
}

sb_status sb_checkpoint_dir_rotate(const sb_checkpoint_dir *dir, size_t keep, uint64_t every) {
  uint64_t *steps = NULL;
  size_t count;
  sb_status status = SB_OK;
  if (keep == 0) return SB_OK;
  SB_TRY(list_steps(dir, &steps, &count));
  for (size_t i = 0; status == SB_OK && i + keep < count; i++)
    if (every == 0 || steps[i] % every != 0) status = sb_checkpoint_dir_remove(dir, steps[i]);
  sb_free(&steps);
  return status;
}

/* ---- what a run will need ---- */

/* Steps of the i-th checkpoint: of those that are there, then of those that the run saves. */
static uint64_t step_of(const sb_checkpoint_plan *p, const uint64_t *there, size_t count,
                        uint64_t i) {
  if (i < count) return there[i];
  const uint64_t every = p->save_every, step = (p->from / every + 1 + (i - count)) * every;
  return step < p->stop_at ? step : p->stop_at;
}

sb_status sb_checkpoint_dir_expect(const sb_checkpoint_dir *dir, const sb_checkpoint_plan *p,
                                   uint64_t *most, int64_t *last) {
  uint64_t *there = NULL, held, saves = 0;
  size_t count;
  SB_TRY(list_steps(dir, &there, &count));
  if (p->from < p->stop_at && p->save_every)
    saves = (p->stop_at - 1) / p->save_every - p->from / p->save_every + 1;
  held = count;
  *most = 0;
  for (uint64_t i = 0; i < saves; i++) {
    held++;
    if (held > count + *most) *most = held - count;
    /* the one that is no longer among the newest */
    if (p->keep > 0 && count + i >= p->keep) {
      const uint64_t step = step_of(p, there, count, count + i - p->keep);
      if (p->keep_every == 0 || step % p->keep_every != 0) held--;
    }
  }
  *last = (int64_t)held - (int64_t)count;
  sb_free(&there);
  return SB_OK;
}
