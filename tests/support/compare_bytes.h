/* What a `_bytes()` says against what the program allocates (tests/support/allocations.h). */
#ifndef SB_TESTS_SUPPORT_COMPARE_BYTES_H
#define SB_TESTS_SUPPORT_COMPARE_BYTES_H

#include "tests/support/allocations.h"
#include "tests/support/ranks.h"

/* `said` against what was taken since there were `before`; `slack`: where a rank's part may be
 * rounded up. */
static inline void compare(const char *what, size_t said, size_t taken, size_t slack) {
  if (said < taken || said - taken > slack)
    print_error("rank %d of %d: %s: %zu bytes said, %zu taken\n", world.rank, world.size, what,
                said, taken);
  EXPECT(said >= taken && said - taken <= slack);
}

#endif
