/* The bit map of a model (model/model.h): who owns which blocks, and their widths on all ranks. */
#include <string.h>

#include "base/memory.h"
#include "model/model.h"
#include "mpi/large.h"

/* ---- who owns which blocks: follows from the units ---- */

/* Blocks in the units [0, unit) of a group, counted from the group's first block. */
static size_t blocks_before(const sb_model *m, size_t group, size_t unit) {
  size_t blocks = 0;
  for (size_t p = m->group_place[group]; p < m->group_place[group + 1]; p++) {
    const sb_place *place = &m->places[p];
    const sb_matrix *matrix = sb_model_place_matrix(m, place);
    if (!matrix || unit <= place->first_unit) continue;
    blocks +=
        sb_min_size(unit - place->first_unit, place->units) * sb_tiling_block_cols(&matrix->tiling);
  }
  return blocks;
}

static bool is_layer(const sb_model *m, size_t group) {
  return group >= m->layer_first && group < m->layer_first + m->config.layers;
}

/* Number of the first block in a group; of a group that has none, any. */
static size_t group_block(const sb_model *m, size_t group) {
  if (is_layer(m, group)) return sb_model_first_block(m, group - m->layer_first);
  const sb_place *place = &m->places[m->group_place[group]];
  const sb_matrix *matrix = sb_model_place_matrix(m, place);
  return matrix ? matrix->first_block +
                      sb_place_block_row(m, place, 0) * sb_tiling_block_cols(&matrix->tiling)
                : 0;
}

void sb_model_owned_of_group(const sb_model *m, size_t group, int rank, size_t *first,
                             size_t *end) {
  size_t first_unit, end_unit, base = group_block(m, group);
  sb_store_owned(m->store, group, rank, &first_unit, &end_unit);
  *first = base + blocks_before(m, group, first_unit);
  *end = base + blocks_before(m, group, end_unit);
}

void sb_model_owned_blocks(const sb_model *m, size_t layer, int rank, size_t *first, size_t *end) {
  sb_model_owned_of_group(m, m->layer_first + layer, rank, first, end);
}

/* Of all layers, or of all tables. */
static size_t owned_count(const sb_model *m, bool layers) {
  size_t count = 0;
  for (size_t g = 0; g < m->groups; g++) {
    size_t first, end;
    if (is_layer(m, g) != layers) continue;
    sb_model_owned_of_group(m, g, m->world->rank, &first, &end);
    count += end - first;
  }
  return count;
}

size_t sb_model_owned_count(const sb_model *m) {
  return owned_count(m, true);
}

size_t sb_model_owned_table_count(const sb_model *m) {
  return owned_count(m, false);
}

static void get_bits(const sb_model *m, bool layers, uint8_t *owned) {
  for (size_t g = 0; g < m->groups; g++) {
    size_t first, end;
    if (is_layer(m, g) != layers) continue;
    sb_model_owned_of_group(m, g, m->world->rank, &first, &end);
    memcpy(owned, m->bits + first, end - first);
    owned += end - first;
  }
}

void sb_model_get_bits(const sb_model *m, uint8_t *owned) {
  get_bits(m, true, owned);
}

void sb_model_get_table_bits(const sb_model *m, uint8_t *owned) {
  get_bits(m, false, owned);
}

sb_status sb_model_lift_bits(sb_model *m, uint8_t **kept) {
  SB_AGREE(m->world, sb_alloc_raw(kept, m->all_blocks, 1, "bit map"));
  memcpy(*kept, m->bits, m->all_blocks);
  memset(m->bits, 0, m->all_blocks);
  return SB_OK;
}

void sb_model_return_bits(sb_model *m, uint8_t **kept) {
  memcpy(m->bits, *kept, m->all_blocks);
  sb_free(kept);
}

/* The owned runs of one rank are scattered over the groups, so the ranks' parts travel rank after
 * rank and are dealt out on arrival: one all-gather of `blocks` bytes. */
static sb_status set_bits(sb_model *m, bool layers, const uint8_t *owned) {
  sb_status status = SB_OK;
  int size = m->world->size;
  size_t *starts = NULL, *next = NULL;
  uint8_t *all = NULL;
  SB_GO(sb_alloc(&starts, (size_t)size + 1, sizeof *starts, "bit map"));
  SB_GO(sb_alloc(&next, (size_t)size, sizeof *next, "bit map"));
  SB_GO(sb_alloc(&all, m->all_blocks, 1, "bit map"));
  for (size_t g = 0; g < m->groups; g++)
    for (int r = 0; is_layer(m, g) == layers && r < size; r++) {
      size_t first, end;
      sb_model_owned_of_group(m, g, r, &first, &end);
      starts[r + 1] += end - first;
    }
  for (int r = 0; r < size; r++) {
    starts[r + 1] += starts[r];
    next[r] = starts[r];
  }
done:
  status = sb_world_agree(m->world, status);
  SB_THEN(sb_mpi_allgather_bytes(all, owned, starts, m->world->comm));
  for (size_t g = 0; status == SB_OK && g < m->groups; g++)
    for (int r = 0; is_layer(m, g) == layers && r < size; r++) {
      size_t first, end;
      sb_model_owned_of_group(m, g, r, &first, &end);
      memcpy(m->bits + first, all + next[r], end - first);
      next[r] += end - first;
    }
  sb_free(&starts);
  sb_free(&next);
  sb_free(&all);
  return status;
}

sb_status sb_model_set_bits(sb_model *m, const uint8_t *owned) {
  return set_bits(m, true, owned);
}

sb_status sb_model_set_table_bits(sb_model *m, const uint8_t *owned) {
  return set_bits(m, false, owned);
}
