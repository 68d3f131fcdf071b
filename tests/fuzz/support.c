#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/target.h"

static char folder[512];
static pid_t owner;

_Noreturn void fuzz_broken(const char *file, int line, const char *condition) {
  fprintf(stderr, "%s:%d: does not hold: %s\nmessage: %s\n", file, line, condition, sb_message());
  abort();
}

bool fuzz_settle(sb_status status) {
  if (getenv("FZ")) fprintf(stderr, "%d %.90s\n", status, status ? sb_message() : "OK");
  if (status == SB_OK) return true;
  const char *line = sb_message();
  fuzz_require(*line && status != SB_ERR_INTERNAL);
  for (const char *c = line; *c; c++) fuzz_require((unsigned char)*c >= ' ' && *c != 127);
  json_t *text = json_string(line);
  fuzz_require(text != NULL); /* UTF-8 */
  json_decref(text);
  return false;
}

static void remove_folder(void) {
  char command[600];
  if (getpid() != owner) return; /* libFuzzer's children share it */
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  if (system(command) != 0) fprintf(stderr, "%s stays\n", folder);
}

const char *fuzz_folder(void) {
  if (folder[0]) return folder;
  const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%s/shardbits-fuzz-XXXXXX", base && *base ? base : "/tmp");
  fuzz_require(mkdtemp(folder) != NULL);
  owner = getpid();
  atexit(remove_folder);
  return folder;
}

const char *fuzz_path(const char *name) {
  static char paths[8][1024];
  static unsigned next;
  char *path = paths[next++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", fuzz_folder(), name);
  return path;
}

const char *fuzz_put(const char *name, const void *data, size_t bytes, size_t zeros) {
  const char *path = fuzz_path(name);
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  fuzz_require(fd >= 0);
  fuzz_require(bytes == 0 || pwrite(fd, data, bytes, 0) == (ssize_t)bytes);
  fuzz_require(zeros == 0 || ftruncate(fd, (off_t)(bytes + zeros)) == 0);
  close(fd);
  return path;
}

char *fuzz_get(const char *path, size_t *bytes) {
  struct stat info;
  FILE *file = fopen(path, "rb");
  fuzz_require(file != NULL && fstat(fileno(file), &info) == 0);
  char *data = malloc((size_t)info.st_size + 1);
  fuzz_require(data != NULL);
  *bytes = fread(data, 1, (size_t)info.st_size, file);
  data[*bytes] = 0;
  fclose(file);
  return data;
}

char *fuzz_source_file(const char *name, size_t *bytes) {
  char path[1024];
  snprintf(path, sizeof path, "%s/%s", SB_SOURCE_DIR, name);
  return fuzz_get(path, bytes);
}

/* ---- cursors ---- */

uint8_t fuzz_u8(fuzz_cursor *c) {
  if (c->left == 0) return 0;
  c->left--;
  return *c->at++;
}

uint32_t fuzz_u16(fuzz_cursor *c) {
  const uint32_t low = fuzz_u8(c);
  return low | (uint32_t)fuzz_u8(c) << 8;
}

uint32_t fuzz_u32(fuzz_cursor *c) {
  const uint32_t low = fuzz_u16(c);
  return low | fuzz_u16(c) << 16;
}
