/* How fast a folder's disk takes and gives files. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/atomic.h"
#include "io/file.h"
#include "io/unfinished.h"
#include "measure/limits.h"
#include "measure/timing.h"

enum { FILE_BYTES = 64 << 20, PIECE = 8 << 20, MOST_ROUNDS = 3 };

typedef struct disk {
  sb_unfinished file;
  char *piece;
} disk;

static sb_status write_file(void *context) {
  const disk *d = context;
  const int fd = d->file.fd;
  if (ftruncate(fd, 0) != 0) return sb_file_write_error(d->file.path, errno, 0, FILE_BYTES);
  sb_status status = SB_OK;
  for (uint64_t at = 0; at < FILE_BYTES && status == SB_OK; at += PIECE)
    status = sb_file_write_at(fd, d->file.path, at, d->piece, PIECE, FILE_BYTES);
  SB_THEN(sb_file_sync(fd, d->file.path));
  return status;
}

static sb_status read_file(void *context) {
  const disk *d = context;
  int fd;
  uint64_t bytes;
  SB_TRY(sb_file_open(d->file.path, &fd, &bytes));
  (void)posix_fadvise(fd, 0, 0,
                      POSIX_FADV_DONTNEED); /* where it is not heeded, the cache is read */
  sb_status status = SB_OK;
  for (uint64_t at = 0; at < FILE_BYTES && status == SB_OK; at += PIECE)
    status = sb_file_read_at(fd, d->file.path, at, d->piece, PIECE);
  close(fd);
  return status;
}

/* Bytes that no file system stores in less. */
static sb_status prepare(disk *d, const sb_world *world, const char *folder) {
  char path[SB_PATH_MAX], name[64];
  snprintf(name, sizeof name, ".shardbits-bench-%d", world->rank);
  SB_TRY(sb_path_join(path, folder, name));
  SB_TRY(sb_file_check_target(path));
  SB_TRY(sb_alloc_raw(&d->piece, PIECE, 1, "piece of a file"));
  for (uint64_t i = 0; i < PIECE; i++)
    d->piece[i] = (char)((i * UINT64_C(6364136223846793005) + (uint64_t)world->rank) >> 33);
  return sb_unfinished_create(path, &d->file);
}

sb_status sb_limit_disk(const sb_world *world, const char *folder, int rounds, sb_machine *out) {
  disk d = {.file = SB_NO_UNFINISHED};
  double seconds;
  const int few = rounds < MOST_ROUNDS ? rounds : MOST_ROUNDS;
  sb_status status = sb_world_agree(world, prepare(&d, world, folder));
  SB_THEN(sb_time_best(world, few, write_file, &d, &seconds));
  if (status == SB_OK) out->value[SB_FIGURE_DISK_WRITE] = FILE_BYTES / seconds;
  SB_THEN(sb_time_best(world, few, read_file, &d, &seconds));
  if (status == SB_OK) out->value[SB_FIGURE_DISK_READ] = FILE_BYTES / seconds;
  sb_unfinished_abandon(&d.file);
  sb_free(&d.piece);
  return status;
}
