/* The layout of a list of groups: offsets of units in a group's image, and the owner of each unit.
 * Arithmetic only: no MPI, no memory of the groups themselves. All local. */
#ifndef SB_MPI_LAYOUT_H
#define SB_MPI_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/status.h"

/* Describes one group: the sizes in bytes of its units, in order. */
typedef struct sb_store_group {
  size_t units;
  const size_t *unit_bytes; /* copied */
} sb_store_group;

typedef struct sb_layout_group {
  size_t units;
  size_t
      *offsets; /* [units + 1] prefix sums of the unit sizes; the last is the size of the image */
  size_t *cuts; /* [ranks + 1] rank r owns units [cuts[r], cuts[r + 1]) */
} sb_layout_group;

typedef struct sb_layout {
  size_t count;
  int ranks;
  size_t largest; /* bytes of the largest image */
  sb_layout_group *groups;
} sb_layout;

/* Rank r's run of the first group ends at the unit boundary nearest to (r + 1) / ranks of the
 * image; of each further one, nearest to where its bytes of all groups together are as even as can
 * be. So its bytes of all groups differ from an even share by at most two of the largest units,
 * however many groups there are. SB_ERR_RANGE when sizes overflow, SB_ERR_MEMORY. O(units + ranks x
 * groups). Release with sb_layout_free. */
sb_status sb_layout_create(const sb_store_group *groups, size_t count, int ranks, sb_layout *out);
void sb_layout_free(sb_layout *layout);

/* Offsets and cuts begin at 0 and ascend, the last cut is behind the last unit, and no image is
 * larger than `largest`. O(units + ranks x groups). */
bool sb_layout_is_valid(const sb_layout *layout, sb_flaw *flaw);

/* Bytes of group g's image, the part of it that `rank` owns, and where that begins. */
size_t sb_layout_image(const sb_layout *layout, size_t g);
size_t sb_layout_owned(const sb_layout *layout, size_t g, int rank);
size_t sb_layout_begin(const sb_layout *layout, size_t g, int rank);
/* A hash of all sizes and of the number of ranks, to compare descriptions between ranks. */
uint64_t sb_layout_hash(const sb_layout *layout);

#endif
