/* The files of a checkpoint. PATH (JSON, every byte under a checksum: io/seal.h) has the key of the
 * work, with everything that it depends on, its progress, and checksums of the bulk. PATH.SUFFIX
 * has the bulk, if the work has one: every rank writes and reads the part that it owns. Once the
 * bulk is on the disk, PATH is replaced, complete or not at all. From then on the line of an
 * interrupted run (base/cleanup.h) says that the same command goes on with it. */
#ifndef SB_FOLDERS_CHECKPOINT_FILES_H
#define SB_FOLDERS_CHECKPOINT_FILES_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"
#include "io/file.h"
#include "io/key.h"
#include "mpi/world.h"

typedef struct sb_checkpoint_files_kind {
  const char *format; /* PATH's "format" */
  int version;
  const char *what;   /* in messages: "PATH: not WHAT" */
  const char *state;  /* "PATH: STATE with another ...", where the key differs */
  const char *advice; /* the way out, where key or version differ */
  const char *suffix; /* of the bulk; NULL where PATH is all */
} sb_checkpoint_files_kind;

typedef struct sb_checkpoint_files {
  const sb_world *world;
  const sb_checkpoint_files_kind *kind;
  const sb_key *key;
  int fd;   /* of `data`; -1 without bulk */
  int slot; /* of `data` in base/cleanup.h, on rank 0, until the first commit; else -1 */
  char path[SB_PATH_MAX], data[SB_PATH_MAX];
} sb_checkpoint_files;

/* Reads the progress from PATH. Called on rank 0. */
typedef sb_status (*sb_checkpoint_files_parse)(void *context, const char *path, const json_t *root);

/* Opens the files at `path`. *exists: PATH exists, and `parse` has read it on rank 0. Otherwise the
 * bulk is a new file. `kind` and `key` are borrowed until sb_checkpoint_files_close, which is
 * called after a failure too. SB_ERR_FORMAT names the difference between PATH and this run, or the
 * damage. Collective; all ranks fail together. */
sb_status sb_checkpoint_files_open(const sb_world *world, const sb_checkpoint_files_kind *kind,
                                   const char *path, const sb_key *key,
                                   sb_checkpoint_files_parse parse, void *context, bool *exists,
                                   sb_checkpoint_files *out);
/* Writes bytes of the bulk at `at`, as sb_file_write_at and sb_file_sync do; a failure also says
 * how to go on. Local. */
sb_status sb_checkpoint_files_write(const sb_checkpoint_files *files, uint64_t at, const void *data,
                                    size_t bytes, uint64_t about);
sb_status sb_checkpoint_files_sync(const sb_checkpoint_files *files);
/* Replaces PATH by one with `progress`, once every rank has its part of the bulk on the disk
 * (sb_checkpoint_files_sync). `progress` is an object on rank 0, which this call takes over, and
 * NULL elsewhere. SB_ERR_IO. Collective. */
sb_status sb_checkpoint_files_commit(sb_checkpoint_files *files, json_t *progress);
void sb_checkpoint_files_close(sb_checkpoint_files *files); /* local; bulk without PATH goes */

/* Removes both files, on rank 0, if they exist. Local. */
void sb_checkpoint_files_remove(const sb_world *world, const sb_checkpoint_files_kind *kind,
                                const char *path);

#endif
