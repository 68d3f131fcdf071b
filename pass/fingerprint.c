#include "pass/fingerprint.h"

#include <xxhash.h>

#include "mpi/large.h"

/* Hashes of units, each seeded with its place, are added up: order and owner do not matter. */
sb_status sb_model_fingerprint(sb_model *m, uint64_t *out) {
  *out = 0;
  for (size_t g = 0; g < m->groups; g++) {
    size_t first, end;
    sb_store_owned(m->store, g, m->world->rank, &first, &end);
    for (size_t u = first; u < end; u++) {
      const uint64_t place[2] = {g, u};
      const size_t bytes = sb_store_offset(m->store, g, u + 1) - sb_store_offset(m->store, g, u);
      *out += XXH64(sb_store_unit(m->store, g, u), bytes, XXH64(place, sizeof place, 0));
    }
  }
  return sb_mpi_sum_u64(out, 1, m->world->comm);
}

sb_status sb_sequences_fingerprint(const sb_world *world, const sb_sequences *s, uint64_t *out) {
  *out = 0;
  for (size_t i = 0; i < s->local; i++)
    *out += XXH64(s->tokens + i * s->seqlen, s->seqlen * sizeof *s->tokens,
                  i * (size_t)world->size + (size_t)world->rank);
  return sb_mpi_sum_u64(out, 1, world->comm);
}
