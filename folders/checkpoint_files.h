/* The files of a checkpoint. PATH, JSON, has the key of the work (what it depends on) and its
 * progress. PATH.SUFFIX, for work that has one, has the bulk: every rank writes and reads what it
 * owns. PATH is replaced, complete or not at all, once the bulk that it describes is on the disk.
 */
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
  int fd; /* of `data`; -1 where there is none */
  char path[SB_PATH_MAX], data[SB_PATH_MAX];
} sb_checkpoint_files;

/* How far the work is, from PATH. Called on rank 0. */
typedef sb_status (*sb_checkpoint_files_parse)(void *context, const char *path, const json_t *root);

/* `kind` and `key` are borrowed until sb_checkpoint_files_close, which is called after a failure
 * too. *there: there is a PATH, and `parse` has seen it on rank 0; else the bulk is a new file.
 * SB_ERR_FORMAT names what differs between the files and this run, or what is wrong with them.
 * Collective. */
sb_status sb_checkpoint_files_open(const sb_world *world, const sb_checkpoint_files_kind *kind,
                                   const char *path, const sb_key *key,
                                   sb_checkpoint_files_parse parse, void *context, bool *there,
                                   sb_checkpoint_files *out);
/* PATH speaks of what all ranks have on the disk (sb_file_sync). `progress`, an object that is
 * taken, on rank 0; the others have NULL. Collective. */
sb_status sb_checkpoint_files_commit(const sb_checkpoint_files *saved, json_t *progress);
void sb_checkpoint_files_close(sb_checkpoint_files *saved); /* local; the files stay */

/* Removes both files, on rank 0; that they are not there is no error. Local. */
void sb_checkpoint_files_remove(const sb_world *world, const sb_checkpoint_files_kind *kind,
                                const char *path);

#endif
