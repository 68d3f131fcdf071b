#include "folders/companions.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "io/file.h"
#include "io/json.h"
#include "io/json_python.h"
#include "io/unfinished.h"
#include "model/config_read.h"

static const char templates[] = "additional_chat_templates"; /* the one subfolder that travels */
static const uint64_t LARGE = (uint64_t)1 << 30;

static bool ends_with(const char *name, const char *end) {
  const size_t length = strlen(name), tail = strlen(end);
  return length >= tail && strcasecmp(name + length - tail, end) == 0;
}

/* A run's temporary file or folder, this one's too where OUT lies in the source. */
static bool is_unfinished(const char *name) {
  static const char start[] = ".partial-";
  const char *at = strstr(name, start);
  bool here;
  return at && sb_unfinished_is(at, start, &here);
}

bool sb_companions_is_one(const char *name) {
  static const char *const ends[] = {
      ".safetensors", ".bin",        ".pt",    ".pth",        ".ckpt", ".gguf",
      ".ggml",        ".h5",         ".keras", ".msgpack",    ".onnx", ".onnx_data",
      ".tflite",      ".mlmodel",    ".ot",    ".npz",        ".pkl",  ".pickle",
      ".nemo",        ".index.json", ".sbz",   ".incomplete", ".part", ".lock"};
  if (name[0] == '.' || strcmp(name, "manifest.json") == 0 || strcmp(name, "training.json") == 0 ||
      is_unfinished(name))
    return false;
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
    if (ends_with(name, ends[i])) return false;
  return true;
}

/* What stays behind although its name says otherwise, for one line of the log. */
typedef struct left {
  char text[160];
  size_t length, count;
} left;

static void leave(left *l, const char *name, const char *why) {
  l->count++;
  const size_t room = sizeof l->text - l->length;
  const int n =
      snprintf(l->text + l->length, room, "%s%.60s (%s)", l->length ? ", " : "", name, why);
  if (n > 0 && (size_t)n < room)
    l->length += (size_t)n;
  else
    l->text[l->length] = 0;
}

/* Without `out` the file is opened only. */
static sb_status copy_file(const char *from, const char *name, const sb_outdir *out) {
  char to[SB_PATH_MAX];
  uint64_t bytes;
  int fd;
  if (!out) {
    SB_TRY(sb_file_open(from, &fd, &bytes));
    close(fd);
    return SB_OK;
  }
  SB_TRY(sb_path_join(to, out->partial, name));
  return sb_copy_file(from, to);
}

typedef struct copying {
  const char *source;
  const sb_outdir *out; /* NULL: nothing is copied, only looked at */
  left behind;
} copying;

static sb_status copy_folder(copying *c, const char *below);

/* `name` is below `source`: a bare one, or one in the subfolder that travels. */
static sb_status copy_entry(copying *c, const char *name) {
  char from[SB_PATH_MAX];
  struct stat info;
  SB_TRY(sb_path_join(from, c->source, name));
  if (stat(from, &info) != 0) {
    if (errno == EACCES)
      return sb_fail(SB_ERR_IO, "%s: cannot be examined: %s", from, strerror(errno));
    leave(&c->behind, name, errno == ENOENT ? "a link to nowhere" : strerror(errno));
    return SB_OK;
  }
  if (S_ISDIR(info.st_mode) && strcmp(name, templates) == 0) return copy_folder(c, name);
  if (!S_ISREG(info.st_mode)) {
    leave(&c->behind, name, S_ISDIR(info.st_mode) ? "a folder" : "not a file");
    return SB_OK;
  }
  if ((uint64_t)info.st_size > LARGE) {
    leave(&c->behind, name, "more than 1 GiB");
    return SB_OK;
  }
  if (faccessat(AT_FDCWD, from, R_OK, AT_EACCESS) != 0)
    return sb_fail(
        SB_ERR_IO,
        "%s: cannot be read (%s) and belongs to the model; make it readable, or remove it", from,
        strerror(errno));
  return copy_file(from, name, c->out);
}

static int is_side_file(const struct dirent *entry) {
  return sb_companions_is_one(entry->d_name);
}

/* The side files of `source`, or of its subfolder `below`, in the order of their names. */
static sb_status copy_folder(copying *c, const char *below) {
  char path[SB_PATH_MAX], made[SB_PATH_MAX], name[SB_PATH_MAX];
  struct dirent **names = NULL;
  sb_status status = SB_OK;
  SB_TRY(sb_path_join(path, c->source, below));
  const int count = scandir(path, &names, is_side_file, alphasort);
  if (count < 0) return SB_OK;
  if (below[0] && c->out) {
    status = sb_path_join(made, c->out->partial, below);
    if (status == SB_OK && mkdir(made, 0777) != 0)
      status = sb_fail(SB_ERR_IO, "%s: cannot be created: %s", made, strerror(errno));
  }
  for (int i = 0; i < count; i++) {
    if (status == SB_OK && below[0])
      status = sb_path_join(name, below, names[i]->d_name);
    else
      snprintf(name, sizeof name, "%s", names[i]->d_name);
    SB_THEN(copy_entry(c, name));
    free(names[i]);
  }
  free(names);
  if (status == SB_OK && below[0] && c->out) status = sb_folder_sync(made);
  return status;
}

sb_status sb_companions_copy(const char *source, const sb_outdir *out) {
  copying c = {.source = source, .out = out};
  SB_TRY(copy_folder(&c, ""));
  if (c.behind.count > 0)
    sb_log_line("files     %zu of %.200s stay%s behind: %s", c.behind.count, source,
                c.behind.count == 1 ? "s" : "", c.behind.text);
  return SB_OK;
}

sb_status sb_companions_check(const char *source) {
  copying c = {.source = source};
  return copy_folder(&c, "");
}

sb_status sb_companions_copy_config(const char *config, const sb_outdir *out) {
  static const char *const names[] = {"tokenizer.json",     "tokenizer_config.json",
                                      "tokenizer.model",    "special_tokens_map.json",
                                      "added_tokens.json",  "vocab.json",
                                      "merges.txt",         "generation_config.json",
                                      "chat_template.jinja"};
  char folder[SB_PATH_MAX], from[SB_PATH_MAX];
  if (strlen(config) >= SB_PATH_MAX)
    return sb_fail(SB_ERR_IO, "%.64s...: the name is too long", config);
  sb_path_parent(folder, config);
  SB_TRY(copy_file(config, "config.json", out));
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    SB_TRY(sb_path_join(from, folder, names[i]));
    if (access(from, F_OK) == 0) SB_TRY(copy_file(from, names[i], out));
  }
  return SB_OK;
}

sb_status sb_companions_restate(const char *folder, const sb_config *config, json_t **out) {
  char path[SB_PATH_MAX];
  *out = NULL;
  SB_TRY(sb_path_join(path, folder, "config.json"));
  SB_TRY(sb_json_python_read(path, out));
  json_t *copied = json_deep_copy(*out);
  sb_config_restate(*out, config);
  const sb_status status = json_equal(copied, *out) ? SB_OK : sb_json_write(path, *out);
  json_decref(copied);
  return status;
}
