#include "io/space.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

sb_status sb_space_require(const char *folder, const char *what, uint64_t bytes) {
  struct statvfs info;
  if (statvfs(folder, &info) != 0) return SB_OK;
  uint64_t free_bytes = (uint64_t)info.f_bavail * info.f_frsize;
  if (free_bytes >= bytes) return SB_OK;
  return sb_fail(SB_ERR_IO,
                 "%s: needs about %.1f MiB and its disk has %.1f MiB free; nothing was replaced",
                 what, (double)bytes / 0x1p20, (double)free_bytes / 0x1p20);
}

bool sb_space_is_shared(const char *a, const char *b) {
  struct stat one, two;
  return stat(a, &one) == 0 && stat(b, &two) == 0 && one.st_dev == two.st_dev;
}
