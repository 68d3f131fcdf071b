#include "policy/adapt_folder.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_ours(const char *name) {
  uint64_t step;
  int end = 0;
  return sscanf(name, "step-%8" SCNu64 ".json%n", &step, &end) == 1 && end > 0 && !name[end];
}

static sb_status check_file(const char *folder, const char *name) {
  char path[SB_PATH_MAX];
  sb_policy policy = {0};
  SB_TRY(sb_path_join(path, folder, name));
  const sb_status status = sb_policy_read(path, &policy);
  sb_policy_free(&policy);
  if (status == SB_OK || status == SB_ERR_MEMORY) return status;
  return sb_fail(
      SB_ERR_FORMAT,
      "%s: is no policy, and --adapt may write one there; move it, or choose another OUT", path);
}

static sb_status check_files(const char *folder) {
  DIR *list = opendir(folder);
  if (!list)
    return sb_fail(SB_ERR_IO, "%s: cannot be used for the policies of --adapt: %s", folder,
                   strerror(errno));
  sb_status status = SB_OK;
  for (struct dirent *e; status == SB_OK && (e = readdir(list));)
    if (is_ours(e->d_name)) status = check_file(folder, e->d_name);
  closedir(list);
  return status;
}

sb_status sb_adapt_folder_check(const char *folder) {
  if (mkdir(folder, 0777) == 0) {
    (void)rmdir(folder);
    return SB_OK;
  }
  if (errno != EEXIST)
    return sb_fail(SB_ERR_IO, "%s: cannot be made for the policies of --adapt: %s", folder,
                   strerror(errno));
  SB_TRY(check_files(folder));
  if (access(folder, W_OK | X_OK) == 0) return SB_OK;
  return sb_fail(SB_ERR_IO, "%s: the policies of --adapt cannot be written there: %s", folder,
                 strerror(errno));
}

sb_status sb_adapt_folder_write(const char *folder, uint64_t step, const sb_policy *policy,
                                char *path) {
  char name[32];
  if (mkdir(folder, 0777) != 0 && errno != EEXIST)
    return sb_fail(SB_ERR_IO, "%s: cannot be made for the policies of --adapt: %s", folder,
                   strerror(errno));
  snprintf(name, sizeof name, "step-%08" PRIu64 ".json", step);
  SB_TRY(sb_path_join(path, folder, name));
  return sb_policy_write(path, policy);
}
