/* The state of long work on disk: PATH, JSON, says what the work depends on and how far it is;
 * PATH.SUFFIX has the bulk, of which every rank writes and reads what it owns. PATH is written
 * anew, complete or not at all, when what it speaks of is on the disk. */
#ifndef SB_FOLDERS_CHECKPOINT_FILES_H
#define SB_FOLDERS_CHECKPOINT_FILES_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"
#include "io/file.h"
#include "io/key.h"
#include "mpi/world.h"

typedef struct sb_checkpoint_files_kind {
  const char *format; /* that PATH names */
  int version;
  const char *what;   /* for people: PATH is "not WHAT" */
  const char *state;  /* "STATE with another ...", where the key differs */
  const char *advice; /* and what to do then */
  const char *suffix;
} sb_checkpoint_files_kind;

typedef struct sb_checkpoint_files {
  const sb_world *world;
  const sb_checkpoint_files_kind *kind;
  const sb_key *key;
  int fd; /* of `data` */
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
