#include "pass/variety.h"

#include <stdlib.h>
#include <xxhash.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "mpi/large.h"

static int ascending(const void *a, const void *b) {
  const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* counts[vocab + windows]: how often each id occurs, then the hash of each window; of all ranks. */
static sb_status gather(const sb_world *world, const sb_sequences *s, size_t vocab,
                        uint64_t *counts) {
  for (size_t i = 0; i < s->local; i++) {
    const uint32_t *window = s->tokens + i * s->seqlen;
    for (size_t t = 0; t < s->seqlen; t++) counts[window[t]]++;
    counts[vocab + i * (size_t)world->size + (size_t)world->rank] =
        XXH64(window, s->seqlen * sizeof *window, 0);
  }
  return sb_mpi_sum_u64(counts, vocab + s->count, world->comm);
}

sb_status sb_variety_measure(const sb_world *world, const sb_sequences *s, size_t vocab,
                             sb_variety *out) {
  uint64_t *counts = NULL;
  *out = (sb_variety){.tokens = s->count * s->seqlen, .windows = s->count};
  sb_status status =
      sb_world_agree(world, sb_alloc(&counts, vocab + s->count, sizeof *counts, "counts of ids"));
  SB_THEN(gather(world, s, vocab, counts));
  for (size_t id = 0; status == SB_OK && id < vocab; id++) {
    out->distinct += counts[id] > 0;
    if (counts[id] <= out->of_commonest) continue;
    out->commonest = (uint32_t)id;
    out->of_commonest = (size_t)counts[id];
  }
  if (status == SB_OK) qsort(counts + vocab, s->count, sizeof *counts, ascending);
  for (size_t i = 1; status == SB_OK && i < s->count; i++)
    out->same += counts[vocab + i] == counts[vocab + i - 1];
  sb_free(&counts);
  return status;
}

bool sb_variety_is_poor(const sb_variety *v, size_t vocab) {
  const bool few = (unsigned __int128)v->distinct * v->distinct < v->tokens &&
                   v->distinct < vocab / SB_VARIETY_VOCAB_SHARE;
  return few || v->of_commonest > v->tokens / 2;
}

bool sb_variety_repeats(const sb_variety *v) {
  return v->same > v->windows / SB_VARIETY_SAME_SHARE;
}

sb_status sb_variety_warn(const sb_world *world, const sb_sequences *sequences, size_t vocab,
                          const char *path) {
  sb_variety v;
  SB_TRY(sb_variety_measure(world, sequences, vocab, &v));
  if (sb_variety_is_poor(&v, vocab))
    sb_log_line(
        "warning: %s: %zu calibration tokens have %zu distinct id%s, %.0f%% are id %u; bits "
        "and scales will fit little else, give text as the model will meet it",
        path, v.tokens, v.distinct, sb_text_s(v.distinct),
        100.0 * (double)v.of_commonest / (double)v.tokens, v.commonest);
  if (sb_variety_repeats(&v))
    sb_log_line("warning: %s: %zu of %zu calibration windows repeat others, which teaches nothing "
                "new; give more text",
                path, v.same, v.windows);
  return SB_OK;
}
