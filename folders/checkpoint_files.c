#include "folders/checkpoint_files.h"

#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/trace.h"
#include "io/seal.h"
#include "mpi/large.h"

/* What an interrupted run may promise, once it is true. */
static void promise(const char *path) {
  char text[SB_PATH_MAX + 100];
  snprintf(text, sizeof text, "no output was written; the same command goes on with what %s has",
           path);
  sb_cleanup_message(text);
}

static bool name_data(const sb_checkpoint_files_kind *kind, const char *path, char *out) {
  return snprintf(out, SB_PATH_MAX, "%s%s%s", path, kind->suffix ? "." : "",
                  kind->suffix ? kind->suffix : "") < SB_PATH_MAX;
}

/* On rank 0. */
static sb_status read_state(const sb_checkpoint_files *s, sb_checkpoint_files_parse parse,
                            void *context) {
  json_t *root;
  bool whole;
  SB_TRY(sb_sealed_read(s->path, &root, &whole));
  sb_status status = sb_key_begin(root, s->path, s->kind->format, s->kind->version, s->kind->what,
                                  s->kind->advice);
  if (status == SB_OK && !whole)
    status = sb_fail(SB_ERR_FORMAT,
                     "%s: damaged: its checksum does not fit; remove it to begin anew", s->path);
  SB_THEN(sb_key_compare(s->key, json_object_get(root, "key"), s->path, s->kind->state,
                         s->kind->advice));
  SB_THEN(parse(context, s->path, root));
  json_decref(root);
  return status;
}

/* The way out of a failed write; what was saved before it is good. */
static sb_status advise(sb_status status) {
  if (status != SB_ERR_IO) return status;
  return sb_fail_from(sb_origin(), status,
                      "%s; make room, or move --checkpoint, and the same command goes on",
                      sb_message());
}

/* Rank 0 makes `data` where it is to be new; all open it. Until the first commit it means nothing,
 * and goes when the run is interrupted. */
static sb_status open_data(sb_checkpoint_files *s, bool fresh) {
  int fd = -1;
  sb_status status = SB_OK;
  if (fresh && s->world->rank == 0) {
    status = sb_cleanup_add(s->data, &s->slot);
    SB_THEN(advise(sb_file_create_again(s->data, &fd)));
    if (status == SB_OK) close(fd);
  }
  SB_AGREE(s->world, status);
  return sb_world_agree(s->world, sb_file_open_update(s->data, &s->fd));
}

sb_status sb_checkpoint_files_open(const sb_world *world, const sb_checkpoint_files_kind *kind,
                                   const char *path, const sb_key *key,
                                   sb_checkpoint_files_parse parse, void *context, bool *exists,
                                   sb_checkpoint_files *out) {
  sb_status status = SB_OK;
  *exists = false;
  *out = (sb_checkpoint_files){.world = world, .kind = kind, .key = key, .fd = -1, .slot = -1};
  if (!name_data(kind, path, out->data))
    return sb_fail(SB_ERR_IO, "%.64s...: the name is too long", path); /* the same on all ranks */
  snprintf(out->path, sizeof out->path, "%s", path);
  if (world->rank == 0) {
    *exists = access(path, F_OK) == 0;
    if (*exists) status = read_state(out, parse, context);
    if (*exists && status == SB_OK) promise(path);
  }
  SB_AGREE(world, status);
  SB_TRY(sb_mpi_bcast(exists, sizeof *exists, 0, world->comm));
  return kind->suffix ? open_data(out, !*exists) : SB_OK;
}

sb_status sb_checkpoint_files_write(const sb_checkpoint_files *s, uint64_t at, const void *data,
                                    size_t bytes, uint64_t about) {
  return advise(sb_file_write_at(s->fd, s->data, at, data, bytes, about));
}

sb_status sb_checkpoint_files_sync(const sb_checkpoint_files *s) {
  return advise(sb_file_sync(s->fd, s->data));
}

static sb_status write_state(const sb_checkpoint_files *s, json_t *progress) {
  json_t *root = json_pack("{s:s, s:i, s:o}", "format", s->kind->format, "version",
                           s->kind->version, "key", sb_key_json(s->key));
  const bool made = root && json_object_update(root, progress) == 0;
  const sb_status status = made ? advise(sb_sealed_write(s->path, root))
                                : sb_fail(SB_ERR_MEMORY, "%s: out of memory", s->path);
  json_decref(root);
  return status;
}

/* The first time a signal waits, so that PATH and the bulk are both there, or none is. */
static sb_status write_first(sb_checkpoint_files *s, json_t *progress) {
  sb_cleanup_hold();
  const sb_status status = write_state(s, progress);
  if (status == SB_OK) {
    sb_cleanup_drop(s->slot);
    s->slot = -1;
  }
  sb_cleanup_release();
  return status;
}

sb_status sb_checkpoint_files_commit(sb_checkpoint_files *s, json_t *progress) {
  SB_SPAN(SB_TRACE_DISK, "checkpoint", SB_TRACE_NONE);
  sb_status status = SB_OK;
  if (s->world->rank == 0)
    status = s->slot >= 0 ? write_first(s, progress) : write_state(s, progress);
  if (s->world->rank == 0 && status == SB_OK) promise(s->path);
  json_decref(progress);
  return sb_world_agree(s->world, status);
}

void sb_checkpoint_files_close(sb_checkpoint_files *s) {
  if (s->fd >= 0) close(s->fd);
  if (s->slot >= 0) unlink(s->data);
  sb_cleanup_drop(s->slot);
  s->fd = s->slot = -1;
}

void sb_checkpoint_files_remove(const sb_world *world, const sb_checkpoint_files_kind *kind,
                                const char *path) {
  char data[SB_PATH_MAX];
  if (world->rank != 0 || !name_data(kind, path, data)) return;
  sb_cleanup_hold();  /* a signal would leave one of them */
  (void)unlink(path); /* first: without it the other file means nothing */
  if (kind->suffix) (void)unlink(data);
  sb_cleanup_release();
}
