#include "io/space.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/text.h"

sb_status sb_space_require(const char *folder, const char *what, uint64_t bytes) {
  struct statvfs info;
  if (statvfs(folder, &info) != 0) return SB_OK;
  uint64_t free_bytes = (uint64_t)info.f_bavail * info.f_frsize;
  if (free_bytes >= bytes) return SB_OK;
  char needed[SB_TEXT_SIZE], left[SB_TEXT_SIZE];
  return sb_fail(SB_ERR_IO,
                 "%s: needs about %s and its disk has %s free; nothing was replaced; make room, or "
                 "write elsewhere",
                 what, sb_text_bytes(needed, sizeof needed, (double)bytes),
                 sb_text_bytes(left, sizeof left, (double)free_bytes));
}

bool sb_space_is_shared(const char *a, const char *b) {
  struct stat one, two;
  return stat(a, &one) == 0 && stat(b, &two) == 0 && one.st_dev == two.st_dev;
}
