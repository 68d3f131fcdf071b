#include "mpi/layout.h"

#include <xxhash.h>

#include "base/memory.h"

typedef __int128 wide; /* holds differences of any sizes */

/* Boundaries near equal shares. ahead[r]: bytes that the ranks before r have in the groups so far
 * beyond their shares; this group makes up for them, so that what rounding to whole units leaves
 * over does not gather with the groups. */
static void cut_group(sb_layout_group *group, int ranks, wide *ahead) {
  const size_t image = group->offsets[group->units], *at = group->offsets;
  size_t unit = 0;
  for (int r = 1; r < ranks; r++) {
    const wide share = (wide)image * r / ranks, target = share - ahead[r];
    while (unit < group->units && (wide)at[unit + 1] <= target) unit++;
    if (unit < group->units && (wide)at[unit + 1] - target < target - (wide)at[unit]) unit++;
    group->cuts[r] = unit;
    ahead[r] += (wide)at[unit] - share;
  }
  group->cuts[0] = 0; /* units of 0 bytes at the ends belong to someone too */
  group->cuts[ranks] = group->units;
}

static sb_status describe_group(const sb_store_group *from, int ranks, wide *ahead,
                                sb_layout_group *to) {
  to->units = from->units;
  if (from->units == SIZE_MAX)
    return sb_fail(SB_ERR_RANGE, "a group of %zu units is too large", from->units);
  SB_TRY(sb_alloc(&to->offsets, from->units + 1, sizeof(size_t), "unit offsets"));
  SB_TRY(sb_alloc(&to->cuts, (size_t)ranks + 1, sizeof(size_t), "unit owners"));
  for (size_t u = 0; u < from->units; u++)
    if (!sb_add_size(to->offsets[u], from->unit_bytes[u], &to->offsets[u + 1]))
      return sb_fail(SB_ERR_RANGE,
                     "unit %zu of %zu bytes makes its group larger than the address space", u,
                     from->unit_bytes[u]);
  cut_group(to, ranks, ahead);
  return SB_OK;
}

sb_status sb_layout_create(const sb_store_group *groups, size_t count, int ranks, sb_layout *out) {
  sb_status status;
  wide *ahead = NULL;
  *out = (sb_layout){.ranks = ranks};
  SB_GO(sb_alloc(&ahead, (size_t)ranks, sizeof *ahead, "unit owners"));
  SB_GO(sb_alloc(&out->groups, count, sizeof *out->groups, "group descriptions"));
  out->count = count;
  for (size_t g = 0; g < count; g++) {
    SB_GO(describe_group(&groups[g], ranks, ahead, &out->groups[g]));
    out->largest = sb_max_size(out->largest, sb_layout_image(out, g));
  }
done:
  sb_free(&ahead);
  if (status != SB_OK) sb_layout_free(out);
  return status;
}

void sb_layout_free(sb_layout *layout) {
  for (size_t g = 0; g < layout->count; g++) {
    sb_free(&layout->groups[g].offsets);
    sb_free(&layout->groups[g].cuts);
  }
  sb_free(&layout->groups);
  layout->count = 0;
}

size_t sb_layout_image(const sb_layout *layout, size_t g) {
  return layout->groups[g].offsets[layout->groups[g].units];
}

size_t sb_layout_begin(const sb_layout *layout, size_t g, int rank) {
  const sb_layout_group *group = &layout->groups[g];
  return group->offsets[group->cuts[rank]];
}

size_t sb_layout_owned(const sb_layout *layout, size_t g, int rank) {
  return sb_layout_begin(layout, g, rank + 1) - sb_layout_begin(layout, g, rank);
}

uint64_t sb_layout_hash(const sb_layout *layout) {
  XXH64_hash_t hash = (XXH64_hash_t)layout->ranks;
  for (size_t g = 0; g < layout->count; g++)
    hash = XXH3_64bits_withSeed(layout->groups[g].offsets,
                                (layout->groups[g].units + 1) * sizeof(size_t), hash);
  return hash ^ layout->count;
}

static bool ascends(const size_t *list, size_t steps) {
  if (list[0] != 0) return false;
  for (size_t i = 0; i < steps; i++)
    if (list[i + 1] < list[i]) return false;
  return true;
}

bool sb_layout_is_valid(const sb_layout *layout, sb_flaw *flaw) {
  if (layout->ranks < 1) return sb_flaw_found(flaw, "a layout for %d ranks", layout->ranks);
  for (size_t g = 0; g < layout->count; g++) {
    const sb_layout_group *group = &layout->groups[g];
    if (!ascends(group->offsets, group->units))
      return sb_flaw_found(flaw, "group %zu: offsets of its units do not ascend from 0", g);
    if (!ascends(group->cuts, (size_t)layout->ranks))
      return sb_flaw_found(flaw, "group %zu: cuts between ranks do not ascend from 0", g);
    if (group->cuts[layout->ranks] != group->units)
      return sb_flaw_found(flaw, "group %zu: the last rank ends at unit %zu of %zu", g,
                           group->cuts[layout->ranks], group->units);
    if (sb_layout_image(layout, g) > layout->largest)
      return sb_flaw_found(flaw, "group %zu: its image has %zu bytes, the largest %zu", g,
                           sb_layout_image(layout, g), layout->largest);
  }
  return true;
}
