/* Tests that run on several ranks. A rank that fails must not leave the others waiting in a
 * collective call, so checks count failures (EXPECT), and the ranks compare their counts at the end
 * of each test (all_ranks_passed). */
#ifndef SB_TESTS_SUPPORT_RANKS_H
#define SB_TESTS_SUPPORT_RANKS_H

#include "base/memory.h"
#include "mpi/world.h"
#include "tests/support/assertions.h"
#include "tests/support/random.h"

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

/* A world of this rank alone: what it computes cannot depend on the others. */
static inline const sb_world *world_alone(void) {
  static int zero = 0, one = 1;
  static sb_world alone;
  alone = (sb_world){.comm = MPI_COMM_SELF,
                     .size = 1,
                     .node_comm = MPI_COMM_SELF,
                     .node_size = 1,
                     .nodes = 1,
                     .node_of = &zero,
                     .node_rank_of = &zero,
                     .node_sizes = &one,
                     .host = "here"};
  return &alone;
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
