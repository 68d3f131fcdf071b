#include <time.h>

#include "tests/support/ranks.h"

/* On one machine, runs of n ranks are nodes: what the tables must then say follows from
 * rank and n alone. */
static void check_nodes(const sb_world *w, int per_node) {
  const int n = per_node == 0 || per_node > w->size ? w->size : per_node;
  EXPECT(w->nodes == (w->size + n - 1) / n);
  EXPECT(w->node == w->rank / n && w->node_rank == w->rank % n);
  for (int r = 0; r < w->size; r++) EXPECT(w->node_of[r] == r / n && w->node_rank_of[r] == r % n);
  for (int i = 0; i < w->nodes; i++)
    EXPECT(w->node_sizes[i] == (i + 1 < w->nodes ? n : w->size - i * n));
  EXPECT(w->node_size == w->node_sizes[w->node]);
}

static void world_from_environment(void **state) {
  const char *text = getenv("SHARDBITS_RANKS_PER_NODE");
  int rank;
  (void)state;
  check_nodes(&world, text ? atoi(text) : 0);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  EXPECT(rank == world.rank);
  EXPECT(world.host[0] != 0);
  all_ranks_passed();
}

static void nodes_of_given_size(void **state) {
  (void)state;
  for (int per_node = 0; per_node <= world.size + 1; per_node++) {
    sb_world w;
    int seen = 0, one = 1;
    EXPECT_OK(sb_world_describe(per_node, &w));
    check_nodes(&w, per_node);
    EXPECT(MPI_Allreduce(&one, &seen, 1, MPI_INT, MPI_SUM, w.node_comm) == MPI_SUCCESS);
    EXPECT(seen == w.node_size);
    sb_world_release(&w);
  }
  all_ranks_passed();
}

static double processor_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Nobody leaves before the last one has come, and who waits needs no processor: 0.05 of 0.4 s are
 * allowed for the waking up every 10 ms. */
static void rest(void **state) {
  const struct timespec nap = {0, 400 * 1000 * 1000};
  int late = 0, seen = 0;
  const double begun = processor_seconds();
  (void)state;
  if (world.rank == world.size - 1) {
    nanosleep(&nap, NULL);
    late = 1;
  }
  EXPECT_OK(sb_world_rest(&world));
  EXPECT(processor_seconds() - begun < 0.05);
  EXPECT(MPI_Allreduce(&late, &seen, 1, MPI_INT, MPI_SUM, world.comm) == MPI_SUCCESS);
  EXPECT(seen == 1);
  all_ranks_passed();
}

static void agreement_on_success(void **state) {
  (void)state;
  for (int i = 0; i < 100; i++) EXPECT(sb_world_agree(&world, SB_OK) == SB_OK);
  all_ranks_passed();
}

/* Every set of up to 2^size failing ranks: the lowest one speaks for all. */
static void agreement_on_the_lowest_failure(void **state) {
  (void)state;
  for (unsigned set = 1; set < 1u << world.size; set++) {
    const int lowest = __builtin_ctz(set);
    const sb_status codes[2] = {SB_ERR_IO, SB_ERR_FORMAT};
    sb_status mine = SB_OK, agreed;
    char expected[400];
    if (set >> world.rank & 1)
      mine = sb_fail(codes[world.rank % 2], "shard %d is torn", world.rank);
    agreed = sb_world_agree(&world, mine);
    EXPECT(agreed == codes[lowest % 2]);
    snprintf(expected, sizeof expected, "shard %d is torn (rank %d on %s)", lowest, lowest,
             world.host);
    if (world.size == 1) snprintf(expected, sizeof expected, "shard 0 is torn");
    EXPECT(strcmp(sb_message(), expected) == 0);
    EXPECT(sb_world_agree(&world, agreed) == agreed); /* a second time: nothing is appended */
    EXPECT(strcmp(sb_message(), expected) == 0);
  }
  all_ranks_passed();
}

static void agreement_when_all_fail_alike(void **state) {
  (void)state;
  EXPECT(sb_world_agree(&world, sb_fail(SB_ERR_RANGE, "bits 9 > 4")) == SB_ERR_RANGE);
  EXPECT(strcmp(sb_message(), "bits 9 > 4") == 0);
  all_ranks_passed();
}

/* The suffix must survive a message as long as sb_fail can hold. */
static void agreement_on_a_long_message(void **state) {
  char text[4000], suffix[300];
  (void)state;
  memset(text, 'x', sizeof text);
  text[sizeof text - 1] = 0;
  EXPECT(sb_world_agree(&world, world.rank == world.size - 1 ? sb_fail(SB_ERR_IO, "%s", text)
                                                             : SB_OK) == SB_ERR_IO);
  snprintf(suffix, sizeof suffix, " (rank %d on %s)", world.size - 1, world.host);
  EXPECT(strlen(sb_message()) > 400); /* its beginning and its end */
  if (world.size > 1)
    EXPECT(strcmp(sb_message() + strlen(sb_message()) - strlen(suffix), suffix) == 0);
  all_ranks_passed();
}

static sb_status agree_then(sb_status mine) {
  SB_AGREE(&world, mine);
  return sb_fail(SB_ERR_INTERNAL, "past the agreement");
}

static void agreement_as_a_statement(void **state) {
  (void)state;
  EXPECT(agree_then(SB_OK) == SB_ERR_INTERNAL);
  EXPECT(agree_then(world.rank == 0 ? sb_fail(SB_ERR_IO, "no") : SB_OK) == SB_ERR_IO);
  all_ranks_passed();
}

static sb_status agree_or_release(sb_status mine, bool *released) {
  sb_status status;
  *released = false;
  SB_GO_AGREE(&world, mine);
  return sb_fail(SB_ERR_INTERNAL, "past the agreement");
done:
  *released = true;
  return status;
}

static void agreement_before_a_release(void **state) {
  (void)state;
  bool released;
  EXPECT(agree_or_release(SB_OK, &released) == SB_ERR_INTERNAL && !released);
  EXPECT(agree_or_release(world.rank == 0 ? sb_fail(SB_ERR_IO, "no") : SB_OK, &released) ==
         SB_ERR_IO);
  EXPECT(released);
  all_ranks_passed();
}

/* Where a failure arose travels with its message. */
static void agreement_on_the_origin(void **state) {
  (void)state;
  const int last = world.size - 1;
  EXPECT(sb_world_agree(&world, world.rank == last
                                    ? sb_fail_from("pass/head.c:123", SB_ERR_IO, "no")
                                    : SB_OK) == SB_ERR_IO);
  EXPECT(strcmp(sb_origin(), "pass/head.c:123") == 0);
  all_ranks_passed();
}

static void mpi_errors_return(void **state) {
  int value = 0;
  (void)state;
  EXPECT(sb_mpi_check(MPI_Bcast(&value, 1, MPI_INT, world.size, world.comm), "a broadcast") ==
         SB_ERR_MPI);
  EXPECT(strstr(sb_message(), "a broadcast") && strstr(sb_message(), "MPI_ERR_ROOT"));
  EXPECT(sb_mpi_check(MPI_Bcast(&value, 1, MPI_INT, -7, world.node_comm), "a broadcast") ==
         SB_ERR_MPI);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(world_from_environment),
    cmocka_unit_test(nodes_of_given_size),
    cmocka_unit_test(rest),
    cmocka_unit_test(agreement_on_success),
    cmocka_unit_test(agreement_on_the_lowest_failure),
    cmocka_unit_test(agreement_when_all_fail_alike),
    cmocka_unit_test(agreement_on_a_long_message),
    cmocka_unit_test(agreement_as_a_statement),
    cmocka_unit_test(agreement_before_a_release),
    cmocka_unit_test(agreement_on_the_origin),
    cmocka_unit_test(mpi_errors_return),
};
RANKS_MAIN(tests)
