#include "model/fingerprint.h"

#include <xxhash.h>

#include "mpi/large.h"

/* Hashes of parts, each seeded with its place, are added up: order and owner do not matter. */
static sb_status hash_unit(void *context, sb_model *m, const sb_place *place, size_t unit, void *data) {
  uint64_t *sum = context, key[2];
  size_t first, rows;
  sb_place_rows(m, place, unit, &first, &rows);
  key[0] = place->tensor;
  key[1] = first;
  *sum += XXH64(data, rows * sb_model_row_bytes(m, place->tensor), XXH64(key, sizeof key, 0));
  return SB_OK;
}

sb_status sb_model_fingerprint(sb_model *m, uint64_t *out) {
  *out = 0;
  SB_AGREE(m->world, sb_model_visit_owned(m, hash_unit, out));
  return sb_mpi_sum_u64(out, 1, m->world->comm);
}

sb_status sb_sequences_fingerprint(const sb_world *world, const sb_sequences *s, uint64_t *out) {
  *out = 0;
  for (size_t i = 0; i < s->local; i++)
    *out += XXH64(s->tokens + i * s->seqlen, s->seqlen * sizeof *s->tokens,
                  i * (size_t)world->size + (size_t)world->rank);
  return sb_mpi_sum_u64(out, 1, world->comm);
}
