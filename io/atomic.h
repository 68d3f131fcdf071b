/* Files that appear complete or not at all, even after a crash. `path` may be
 *
 *   a regular file, or nothing  the pieces go to a neighbour (io/unfinished.h), which is synced
 *                               and renamed: there is the old content, or all of the new
 *   a link                      what it leads to is meant, and the link stays. A link of somebody
 *                               else's in a folder that everybody may write to is refused
 *   a pipe, a character device  written to as it is, from beginning to end (/dev/null). Nothing
 *                               waits for a reader: a pipe that nobody reads is an error
 *   anything else               refused: folders, block devices, sockets
 *
 * All functions are local. */
#ifndef SB_IO_ATOMIC_H
#define SB_IO_ATOMIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "io/file.h"
#include "io/unfinished.h"

/* SB_OK where such a file can be written: a trial makes a neighbour and sees that it could take the
 * name, and nothing that is refused is there. SB_ERR_IO says what is in the way: a folder that is
 * missing or not writable, a mount point, somebody else's file in a folder like /tmp, a name
 * without room for the neighbour's. For asking before long work whose result goes there. Also
 * removes what killed runs left beside it (sb_unfinished_clear). */
sb_status sb_file_check_target(const char *path);

/* Opens a pipe or character device for writing. Nothing waits for a reader: without one the pipe is
 * refused. Once it is open, writing waits for the reader as usual. SB_ERR_IO. */
sb_status sb_stream_open(const char *path, int *fd);

typedef struct sb_atomic_file {
  char path[SB_PATH_MAX];   /* as given, for messages */
  char target[SB_PATH_MAX]; /* links resolved */
  sb_unfinished partial;    /* for a stream only its `fd` */
  bool streams;
  uint64_t bytes; /* written so far */
} sb_atomic_file;
#define SB_NO_ATOMIC_FILE ((sb_atomic_file){.partial = SB_NO_UNFINISHED})

sb_status sb_atomic_file_begin(const char *path, sb_atomic_file *out);
/* `about` is as in sb_file_write_at. */
sb_status sb_atomic_file_append(sb_atomic_file *file, const void *data, size_t bytes,
                                uint64_t about);
/* Puts the file in its place. After a failure it is still to be abandoned. */
sb_status sb_atomic_file_commit(sb_atomic_file *file);
/* Removes the neighbour. Does nothing after a commit, or where nothing is begun. */
void sb_atomic_file_abandon(sb_atomic_file *file);

/* The same in one call: `path` holds either its old content or all of `data`. */
sb_status sb_file_write_atomic(const char *path, const void *data, size_t bytes);

#endif
