/* Comparing the units that ranks own of models (mpi/store.h). */
#ifndef SB_TESTS_SUPPORT_UNITS_H
#define SB_TESTS_SUPPORT_UNITS_H

#include "model/model.h"
#include "tests/support/ranks.h"

/* Units that this rank owns of `mine` equal those of `other`, which this rank owns too, since it
 * has the same ranks or this one alone. Local. */
static inline bool units_equal(const sb_model *mine, const sb_model *other) {
  if (mine->groups != other->groups || mine->blocks != other->blocks) return false;
  for (size_t g = 0; g < mine->groups; g++) {
    size_t first, end;
    sb_store_owned(mine->store, g, mine->world->rank, &first, &end);
    for (size_t u = first; u < end; u++) {
      const size_t bytes =
          sb_store_offset(mine->store, g, u + 1) - sb_store_offset(mine->store, g, u);
      if (memcmp(sb_store_unit(mine->store, g, u), sb_store_unit(other->store, g, u), bytes) != 0)
        return false;
    }
  }
  return true;
}

/* The same of all ranks' units. Collective. */
static inline bool units_equal_everywhere(const sb_model *mine, const sb_model *other) {
  int equal = units_equal(mine, other);
  EXPECT(MPI_Allreduce(MPI_IN_PLACE, &equal, 1, MPI_INT, MPI_LAND, world.comm) == MPI_SUCCESS);
  return equal != 0;
}

#endif
