/* Tests that run on several ranks. A rank that fails must not leave the others waiting in a
 * collective call, so checks count failures (EXPECT), and the ranks compare their counts at the end
 * of each test (all_ranks_passed). */
#ifndef SB_TESTS_SUPPORT_RANKS_H
#define SB_TESTS_SUPPORT_RANKS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "mpi/world.h"

static sb_world world; /* of the whole program */
static int failures;   /* of the current test on this rank */

#define EXPECT(condition)                                                                          \
  do {                                                                                             \
    if (!(condition) && failures++ < 5)                                                            \
      print_error("rank %d: %s:%d: %s\n", world.rank, __FILE__, __LINE__, #condition);             \
  } while (0)

#define EXPECT_OK(call)                                                                            \
  do {                                                                                             \
    if ((call) != SB_OK && failures++ < 5)                                                         \
      print_error("rank %d: %s:%d: %s: %s\n", world.rank, __FILE__, __LINE__, #call,               \
                  sb_message());                                                                   \
  } while (0)

static inline void all_ranks_passed(void) {
  int all = 0, own = failures;
  failures = 0;
  assert_int_equal(MPI_Allreduce(&own, &all, 1, MPI_INT, MPI_SUM, world.comm), MPI_SUCCESS);
  assert_int_equal(all, 0);
}

/* Mixes bits (the finaliser of SplitMix64): data that any rank can compute for any index. */
static inline uint64_t mix(uint64_t x) {
  x += UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

/* A random number below `bound` (at least 1), the same on every rank that shares the state. */
static inline uint64_t draw(uint64_t *state, uint64_t bound) {
  return mix((*state)++) % bound;
}

#define RANKS_MAIN(tests)                                                                          \
  int main(int argc, char **argv) {                                                                \
    int failed;                                                                                    \
    if (sb_world_init(&argc, &argv, &world) != SB_OK) {                                            \
      fprintf(stderr, "%s\n", sb_message());                                                       \
      sb_world_finalize(&world);                                                                   \
      return 1;                                                                                    \
    }                                                                                              \
    failed = cmocka_run_group_tests(tests, NULL, NULL);                                            \
    sb_world_finalize(&world);                                                                     \
    return failed != 0;                                                                            \
  }

#endif
