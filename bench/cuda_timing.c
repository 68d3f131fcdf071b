#include "bench/cuda_timing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

enum { ROUNDS = 5 };
static const double round_seconds = 0.02;

sb_backend *be;

void must(sb_status status) {
  if (status == SB_OK) return;
  fprintf(stderr, "%s\n", sb_message());
  exit(1);
}

void *device(size_t bytes) {
  void *out;
  must(be->op->alloc(be, bytes, "operand", &out));
  return out;
}

void *filled(size_t bytes, bool whole) {
  const size_t chunk = 1u << 20;
  uint8_t *host = NULL, *out = device(bytes);
  uint64_t state = 88172645463325252u;
  must(sb_alloc(&host, chunk, 1, "operand"));
  for (size_t i = 0; i + 8 <= chunk; i += 8) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    const uint64_t word =
        whole ? state : (state & UINT64_C(0x80ff80ff80ff80ff)) | UINT64_C(0x3f003f003f003f00);
    memcpy(host + i, &word, 8);
  }
  for (size_t at = 0; at < bytes; at += chunk) {
    must(be->op->upload(be, NULL, out + at, host, sb_min_size(chunk, bytes - at)));
    must(be->op->sync(be, NULL));
  }
  sb_free(&host);
  return out;
}

double seconds_of(timed t) {
  double best = INFINITY;
  size_t calls = 1, i = 0;
  must(t.call(t.context, i++));
  must(be->op->sync(be, NULL));
  for (int round = 0; round < ROUNDS;) {
    const double start = sb_now();
    for (size_t c = 0; c < calls; c++) must(t.call(t.context, i++));
    must(be->op->sync(be, NULL));
    const double spent = sb_now() - start;
    if (spent < round_seconds && calls < 1000) {
      calls *= 2; /* too short to count */
      continue;
    }
    best = fmin(best, spent / (double)calls);
    round++;
  }
  return best;
}

void report_rate(const char *name, double bytes, double seconds, double limit) {
  printf("%-33s %8.1f GB/s  %6.1f%% of the copy\n", name, bytes / seconds * 1e-9,
         100.0 * bytes / seconds / limit);
}

typedef struct copying {
  void *to;
  const void *from;
  size_t bytes;
} copying;
static sb_status copy(const void *context, size_t round) {
  const copying *c = context;
  (void)round;
  return be->op->copy(be, NULL, c->to, c->from, c->bytes);
}
double copy_rate(void) {
  copying c = {.bytes = (size_t)1 << 29};
  c.from = filled(c.bytes, false);
  c.to = device(c.bytes);
  const double rate = 2.0 * (double)c.bytes / seconds_of((timed){copy, &c});
  be->op->free(be, (void *)c.from);
  be->op->free(be, c.to);
  printf("copy                              %8.1f GB/s\n", rate * 1e-9);
  return rate;
}
