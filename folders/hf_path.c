#include "folders/hf_path.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "base/text.h"
#include "folders/output_load.h"
#include "io/file.h"
#include "io/weight_files.h"

/* OWNER/NAME in the characters of names on the hub, with no folder OWNER here. */
static bool is_hub_name(const char *path) {
  const char *slash = strchr(path, '/');
  static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  char owner[SB_PATH_MAX];
  struct stat info;
  if (!slash || slash == path || !slash[1] || path[0] == '.' || strchr(slash + 1, '/'))
    return false;
  if (strspn(path, allowed) != (size_t)(slash - path)) return false;
  if (slash[1 + strspn(slash + 1, allowed)] || strlen(path) >= sizeof owner) return false;
  snprintf(owner, sizeof owner, "%.*s", (int)(slash - path), path);
  return stat(owner, &info) != 0;
}

static sb_status check_file(const char *path) {
  if (sb_text_ends(path, ".safetensors") || sb_text_ends(path, ".safetensors.index.json"))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: is a file of weights; give the folder that holds it and config.json", path);
  if (sb_text_ends(path, ".gguf"))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: is a GGUF file; make a Hugging Face folder of it (tools/gguf_to_hf.py)",
                   path);
  return SB_OK;
}

/* name = the snapshot that refs/main names, if it is there. */
static void main_snapshot(const char *root, char *name, size_t size) {
  char path[SB_PATH_MAX], inside[160], *text = NULL;
  struct stat info;
  size_t bytes;
  if (sb_path_join(path, root, "refs/main") != SB_OK || stat(path, &info) != 0) return;
  if (sb_file_read_all(path, 100, &text, &bytes) != SB_OK) return;
  text[strcspn(text, "\r\n")] = '\0';
  snprintf(inside, sizeof inside, "snapshots/%.100s", text);
  const bool found = *text && !strchr(text, '/') && sb_path_join(path, root, inside) == SB_OK &&
                     stat(path, &info) == 0;
  if (found) snprintf(name, size, "%s", text);
  sb_free(&text);
}

/* The snapshot of a cache's root: that of refs/main, else the first in order. */
static bool find_snapshot(const char *root, char *name, size_t size) {
  char path[SB_PATH_MAX];
  const struct dirent *entry;
  DIR *stream = sb_path_join(path, root, "snapshots") == SB_OK ? opendir(path) : NULL;
  if (!stream) return false;
  name[0] = '\0';
  while ((entry = readdir(stream)))
    if (entry->d_name[0] != '.' && strlen(entry->d_name) < size &&
        (!name[0] || strcmp(entry->d_name, name) < 0))
      snprintf(name, size, "%s", entry->d_name);
  closedir(stream);
  if (name[0]) main_snapshot(root, name, size);
  return name[0] != '\0';
}

static sb_status check_folder(const char *path) {
  char config[SB_PATH_MAX], snapshot[128];
  struct stat info;
  SB_TRY(sb_path_join(config, path, "config.json"));
  SB_TRY(sb_weight_files_check_link(config));
  if (stat(config, &info) == 0 || !find_snapshot(path, snapshot, sizeof snapshot)) return SB_OK;
  return sb_fail(SB_ERR_UNSUPPORTED,
                 "%s: is the root of a hub's cache, not a model; give snapshots/%s in it", path,
                 snapshot);
}

sb_status sb_hf_path_check(const char *path) {
  struct stat info;
  SB_TRY(sb_weight_files_check_link(path));
  if (stat(path, &info) == 0) return S_ISDIR(info.st_mode) ? check_folder(path) : check_file(path);
  if (!is_hub_name(path))
    return sb_fail(SB_ERR_IO, "%s: cannot be opened: %s; give the folder of a Hugging Face model",
                   path, strerror(errno));
  return sb_fail(SB_ERR_IO,
                 "%s: there is no such folder; if it is a name on the Hugging Face hub, fetch it "
                 "(hf download %s --local-dir DIR) and give DIR",
                 path, path);
}

sb_status sb_hf_path_check_model(const char *path) {
  struct stat info;
  SB_TRY(sb_hf_path_check(path));
  if (sb_output_is(path))
    return sb_fail(
        SB_ERR_UNSUPPORTED,
        "%s: is an output of quantize, whose weights are coded; give the model that it was "
        "made from, or export it first",
        path);
  if (stat(path, &info) != 0 || S_ISDIR(info.st_mode)) return SB_OK;
  return sb_fail(SB_ERR_UNSUPPORTED, "%s: is a file; give the folder of a Hugging Face model",
                 path);
}

bool sb_hf_path_has_weights(const char *path) {
  struct stat info;
  sb_weight_files files;
  if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode) || sb_output_is(path)) return false;
  const sb_status status = sb_weight_files_find(path, &files);
  sb_weight_files_free(&files);
  return status != SB_ERR_UNSUPPORTED;
}
