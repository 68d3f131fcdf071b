/* Files: whole reads and writes at 64-bit positions, and files that appear complete or not at all.
 *
 * All functions are local. Every failure names the path and the system's reason; a full disk or
 * quota is reported with the bytes written so far. Functions on a descriptor use pread and pwrite,
 * so several threads may share one. */
#ifndef SB_IO_FILE_H
#define SB_IO_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { SB_PATH_MAX = 4096 };

/* out = folder/name (out has SB_PATH_MAX bytes); SB_ERR_IO when that is too long. */
sb_status sb_path_join(char *out, const char *folder, const char *name);

/* out = the folder that holds `path` ("." for a bare name); path is shorter than SB_PATH_MAX and
 * has no trailing slash. */
void sb_path_parent(char *out, const char *path);

/* Opens a regular file for reading; *bytes is its size. The caller closes *fd. Whatever is no
 * regular file (pipe, device, folder) is SB_ERR_IO at once: nothing waits for a pipe's other end.
 * This is the one way to open a file that a user or another file names. */
sb_status sb_file_open(const char *path, int *fd, uint64_t *bytes);
/* Reads exactly `bytes` bytes at `offset`; a file that ends earlier is SB_ERR_FORMAT. */
sb_status sb_file_read_at(int fd, const char *path, uint64_t offset, void *dst, size_t bytes);
/* Reads a whole file of at most `limit` bytes. *data ends with a NUL that is not counted; release
 * with sb_free. */
sb_status sb_file_read_all(const char *path, size_t limit, char **data, size_t *bytes);

/* Creates the file, or empties it. The caller closes *fd. */
sb_status sb_file_create(const char *path, int *fd);
/* Opens an existing regular file, no link, for reading and writing. The caller closes *fd. */
sb_status sb_file_open_update(const char *path, int *fd);
/* Writes exactly `bytes` bytes at `offset`. `about` is the size the whole file is expected to
 * reach, for the message when space runs out; 0 when unknown. */
sb_status sb_file_write_at(int fd, const char *path, uint64_t offset, const void *src, size_t bytes,
                           uint64_t about);
/* SB_ERR_IO with the line for a failed write: `error` is the errno, `written` the bytes that
 * are in the file. */
sb_status sb_file_write_error(const char *path, int error, uint64_t written, uint64_t about);
/* "a folder", "a pipe", "a device" ...: the kind of a st_mode. */
const char *sb_file_kind(unsigned mode);
/* Waits until the file's, or the folder's, content is on the disk. */
sb_status sb_file_sync(int fd, const char *path);
sb_status sb_folder_sync(const char *path);

/* SB_OK where a file of that name could be written: its folder exists and is writable, and the name
 * is no folder. For asking before long work whose result goes to that file. */
sb_status sb_file_check_target(const char *path);

/* A file that appears complete or not at all, even after a crash. Its pieces go, from beginning to
 * end, to a neighbouring file, which is synced and renamed. An interrupted process removes the
 * neighbour (base/cleanup.h). */
typedef struct sb_atomic_file {
  char path[SB_PATH_MAX], partial[SB_PATH_MAX];
  int fd;         /* -1: nothing is begun */
  int slot;       /* of base/cleanup.h */
  uint64_t bytes; /* written so far */
} sb_atomic_file;
#define SB_NO_ATOMIC_FILE ((sb_atomic_file){.fd = -1, .slot = -1})

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
/* Copies a file's content (not its owner or times); on failure `to` does not exist. */
sb_status sb_copy_file(const char *from, const char *to);
/* Removes a folder with its content; does not follow links. A missing folder is no error. */
sb_status sb_remove_tree(const char *path);

#endif
