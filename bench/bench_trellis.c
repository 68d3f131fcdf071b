/* bench_trellis [TILES]: errors and times of trellis codes, on numbers of a normal distribution.
 *
 * For every kind and width: the mean squared error at the best scale of a block, that scale over
 * the numbers' deviation (kernels/shared/trellis_error.h and trellis_scale.h have both), and
 * microseconds of processor time per weight with each kind of vectors, one thread. All have the
 * same TILES tiles (48) of 256 numbers. Prints Markdown.
 *
 * bench_trellis search KIND WIDTH COUNT [TILES]: the multiplier of least error
 * (kernels/shared/trellis.h) among COUNT odd numbers, at the scale of trellis_scale.h: all are
 * tried on TILES tiles (6), the best 40 again on 16 times as many others. KIND: trellis-12 ... */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "base/random.h"
#include "kernels/code_kind.h"
#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/cpu_viterbi.h"
#include "kernels/cpu/cpu_viterbi_kernels.h"
#include "kernels/shared/trellis_scale.h"

enum { TILE = SB_TRELLIS_TILE, AGAIN = 40, AGAIN_TILES = 16 };

static void must(sb_status status) {
  if (status == SB_OK) return;
  fprintf(stderr, "bench_trellis: %s\n", sb_message());
  exit(1);
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Number i of a normal distribution of deviation 1. */
static double normal(uint64_t i) {
  const double u = ldexp((double)(sb_mix64_with(1, 2 * i) >> 11) + 0.5, -53),
               v = ldexp((double)(sb_mix64_with(1, 2 * i + 1) >> 11) + 0.5, -53);
  return sqrt(-2 * log(u)) * cos(2 * acos(-1) * v);
}

/* The mean squared error of tiles [first, end) under a scale of `gain` deviations; *time gets
 * seconds of a tile. */
static double error_of(sb_viterbi *v, const sb_trellis *t, double gain, size_t first, size_t end,
                       double *time) {
  const float scale = (float)gain / sb_trellis_unit(t);
  double sum = 0;
  *time = 0;
  for (size_t k = first; k < end; k++) {
    float target[TILE], value[TILE];
    uint8_t code[TILE];
    for (size_t i = 0; i < TILE; i++) target[i] = (float)normal(k * TILE + i);
    const double start = seconds();
    sb_viterbi_tile(v, scale, target, NULL, code, value);
    *time += seconds() - start;
    for (size_t i = 0; i < TILE; i++) sum += pow((double)target[i] - (double)value[i], 2);
  }
  *time /= (double)(end - first);
  return sum / (double)((end - first) * TILE);
}

/* ---- errors and times ---- */

/* The gain of least error, to 0.02, and that error: the neighbours of the best of coarse steps are
 * tried in finer ones. */
static double best_gain(sb_viterbi *v, const sb_trellis *t, size_t tiles, double *least) {
  double best = 1.1, time;
  *least = error_of(v, t, best, 0, tiles, &time);
  for (double step = 0.16; step > 0.019; step /= 2)
    for (int turn = 0, better = 1; better;) {
      const double gain = best + (turn ? step : -step),
                   error = gain > 0.5 ? error_of(v, t, gain, 0, tiles, &time) : INFINITY;
      if (error < *least) {
        *least = error;
        best = gain;
      } else if (turn++ == 1) {
        better = 0;
      }
    }
  return best;
}

static void row_of(sb_code_kind kind, unsigned width, size_t tiles) {
  static const sb_viterbi_kernels *const kernels[SB_CPU_LEVELS] = {
      &sb_viterbi_plain, &sb_viterbi_avx2, &sb_viterbi_avx512};
  const sb_trellis t = sb_trellis_of(kind, width);
  sb_viterbi *v = NULL;
  double error, time;
  must(sb_viterbi_create(&t, &v));
  const double gain = best_gain(v, &t, tiles, &error);
  sb_viterbi_destroy(&v);
  printf("| %s | %u | %.3g | %.3f | %.2f |", sb_code_kind_names[kind], width, error,
         error * pow(4, width), gain);
  for (int level = SB_CPU_LEVELS; level-- > 0;) {
    if (!sb_cpu_runs((sb_cpu_level)level)) {
      printf(" |");
      continue;
    }
    must(sb_viterbi_create_with(&t, kernels[level], &v));
    (void)error_of(v, &t, gain, 0, level == SB_CPU_PLAIN ? 1 : sb_min_size(tiles, 8), &time);
    printf(" %.2f |", 1e6 * time / TILE);
    sb_viterbi_destroy(&v);
  }
  printf("\n");
  fflush(stdout);
}

static void table(size_t tiles) {
  printf("| codes | bits | mean squared error | x 4^bits | scale | AVX-512, us a weight | AVX2 | "
         "plain C |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
  for (int kind = SB_TRELLIS_12; kind < SB_CODE_KINDS; kind++)
    for (unsigned width = SB_MIN_BITS; width <= SB_MAX_BITS; width++)
      row_of((sb_code_kind)kind, width, tiles);
}

/* ---- search ---- */

typedef struct candidate {
  double error;
  uint32_t multiplier;
} candidate;

static int by_error(const void *a, const void *b) {
  const candidate *x = a, *y = b;
  return x->error < y->error ? -1 : x->error > y->error;
}

static void try_all(candidate *all, size_t count, sb_code_kind kind, unsigned width, size_t first,
                    size_t end) {
  const double gain = (double)sb_trellis_gain(kind, width);
  double time;
  for (size_t i = 0; i < count; i++) {
    sb_trellis t = sb_trellis_of(kind, width);
    sb_viterbi *v = NULL;
    t.multiplier = all[i].multiplier;
    must(sb_viterbi_create(&t, &v));
    all[i].error = error_of(v, &t, gain, first, end, &time);
    sb_viterbi_destroy(&v);
  }
  qsort(all, count, sizeof *all, by_error);
}

static void search(sb_code_kind kind, unsigned width, size_t count, size_t tiles) {
  const size_t odd = kind == SB_TRELLIS_16 ? 1u << 15 : 1u << 13, tried = sb_min_size(count, odd),
               again = sb_min_size(tried, AGAIN);
  candidate *all = NULL;
  must(sb_alloc(&all, tried, sizeof *all, "multipliers"));
  for (size_t i = 0; i < tried; i++) /* all of them, or a sample without repetition */
    all[i].multiplier = (uint32_t)(2 * (tried == odd ? i : i * 0x9e5 % odd) + 1);
  try_all(all, tried, kind, width, 0, tiles);
  printf("%s, %u bits: %zu multipliers, error %.6f to %.6f, half of them below %.6f\n",
         sb_code_kind_names[kind], width, tried, all[0].error, all[tried - 1].error,
         all[tried / 2].error);
  try_all(all, again, kind, width, tiles, (1 + AGAIN_TILES) * tiles);
  for (size_t i = 0; i < sb_min_size(again, 5); i++)
    printf("  0x%04x  %.6f\n", (unsigned)all[i].multiplier, all[i].error);
  sb_free(&all);
}

int main(int argc, char **argv) {
  if (argc >= 5 && strcmp(argv[1], "search") == 0) {
    int kind = SB_TRELLIS_12;
    while (kind < SB_TRELLIS_EXL3 && strcmp(argv[2], sb_code_kind_names[kind]) != 0) kind++;
    const unsigned width = (unsigned)strtoul(argv[3], NULL, 10);
    const size_t count = strtoul(argv[4], NULL, 10),
                 tiles = argc > 5 ? strtoul(argv[5], NULL, 10) : 6;
    if (kind == SB_TRELLIS_EXL3 || width < SB_MIN_BITS || width > SB_MAX_BITS || count == 0 ||
        tiles == 0) {
      fprintf(stderr, "bench_trellis: search KIND WIDTH COUNT [TILES], of trellis-12, -14 or -16, "
                      "1 to 8 bits\n");
      return 1;
    }
    search((sb_code_kind)kind, width, count, tiles);
    return 0;
  }
  const size_t tiles = argc > 1 ? strtoul(argv[1], NULL, 10) : 48;
  table(sb_max_size(tiles, 1));
  return 0;
}
