/* Files: whole reads and writes at 64-bit positions. io/atomic.h has files that appear complete or
 * not at all.
 *
 * All functions are local. Every failure names the path and the system's reason; a full disk or
 * quota is reported with the bytes written so far. Functions on a descriptor use pread and pwrite,
 * so several threads may share one. */
#ifndef SB_IO_FILE_H
#define SB_IO_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { SB_PATH_MAX = 4096 };

/* out = folder/name (out has SB_PATH_MAX bytes); SB_ERR_IO when that is too long. */
sb_status sb_path_join(char *out, const char *folder, const char *name);

/* out = the folder that holds `path` ("." for a bare name); path is shorter than SB_PATH_MAX and
 * has no trailing slash. */
void sb_path_parent(char *out, const char *path);
/* Whether `path` is `folder` or lies in it. Both are absolute and have no links, "." or "..", as
 * realpath() gives them. Pure. */
bool sb_path_is_in(const char *path, const char *folder);

/* Opens a regular file for reading; *bytes is its size. The caller closes *fd. Whatever is no
 * regular file (pipe, device, folder) is SB_ERR_IO at once: nothing waits for a pipe's other end.
 * This is the one way to open a file that a user or another file names. */
sb_status sb_file_open(const char *path, int *fd, uint64_t *bytes);
/* Reads exactly `bytes` bytes at `offset`; a file that ends earlier is SB_ERR_FORMAT. */
sb_status sb_file_read_at(int fd, const char *path, uint64_t offset, void *dst, size_t bytes);
/* Reads a whole file of at most `limit` bytes. *data ends with a NUL that is not counted; release
 * with sb_free. */
sb_status sb_file_read_all(const char *path, size_t limit, char **data, size_t *bytes);

/* Creates a file, open for reading and writing. Whatever has that name already, a link too, is
 * SB_ERR_IO. The caller closes *fd. */
sb_status sb_file_create(const char *path, int *fd);
/* The same, but removes what has that name: a regular file, or a link, not what it leads to. */
sb_status sb_file_create_again(const char *path, int *fd);
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

/* Copies a file's content (not its owner or times); on failure `to` does not exist. */
sb_status sb_copy_file(const char *from, const char *to);
/* Removes a folder with its content; does not follow links. A missing folder is no error. */
sb_status sb_remove_tree(const char *path);

#endif
