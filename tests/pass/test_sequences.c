/* Which windows of a token file are used, and which rank gets which: token i of the file is i, so
 * every window tells where it is from. */
#include "tests/support/ranks.h"

#include "io/atomic.h"
#include "pass/sequences.h"
#include "tests/support/shared_scratch.h"

enum { TOKENS = 1003, T = 10, WINDOWS = 100, VOCAB = 2000 };

/* starts[s] = number of the window that is sequence s, from the ranks' own
 * tokens; returns the count. */
static size_t windows(const char *path, size_t seqlen, size_t most, uint64_t seed, int *starts) {
  sb_sequences q = {0};
  EXPECT_OK(sb_sequences_read(&world, path, SB_TOKENS_U16, VOCAB, seqlen, most, seed, &q));
  for (size_t s = 0; s < q.count; s++) starts[s] = -1;
  EXPECT(q.seqlen == seqlen && q.count <= WINDOWS);
  size_t local = 0;
  for (size_t s = (size_t)world.rank; s < q.count; s += (size_t)world.size, local++) {
    const uint32_t *tokens = q.tokens + local * seqlen;
    for (size_t t = 0; t < seqlen; t++) EXPECT(tokens[t] == tokens[0] + t);
    EXPECT(tokens[0] % seqlen == 0);
    starts[s] = (int)(tokens[0] / seqlen);
  }
  EXPECT(q.local == local);
  EXPECT(MPI_Allreduce(MPI_IN_PLACE, starts, (int)q.count, MPI_INT, MPI_MAX, world.comm) ==
         MPI_SUCCESS);
  sb_sequences_free(&q);
  return q.count;
}

static const char *make_file(void) {
  const char *path = scratch_path("tokens.bin");
  uint16_t ids[TOKENS];
  for (size_t i = 0; i < TOKENS; i++) ids[i] = (uint16_t)i;
  if (world.rank == 0) EXPECT_OK(sb_file_write_atomic(path, ids, sizeof ids));
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  return path;
}

static void all_of_them(void **state) {
  int at[WINDOWS];
  (void)state;
  scratch_begin();
  const char *path = make_file();
  for (uint64_t seed = 0; seed < 2; seed++)
    for (size_t most = 0; most <= 200;
         most += 100) { /* no limit, just enough, more than there are */
      EXPECT(windows(path, T, most, seed, at) == WINDOWS);
      for (int s = 0; s < WINDOWS; s++) EXPECT(at[s] == s);
    }
  EXPECT(windows(path, TOKENS, 0, 0, at) == 1 && at[0] == 0);
  scratch_end();
  all_ranks_passed();
}

static void evenly_spread(void **state) {
  int at[WINDOWS];
  (void)state;
  scratch_begin();
  const char *path = make_file();
  for (size_t most = 1; most <= WINDOWS; most += 3) {
    EXPECT(windows(path, T, most, 0, at) == most);
    EXPECT(at[0] == 0);
    for (size_t s = 1; s < most; s++) {
      const int step = at[s] - at[s - 1], least = (int)(WINDOWS / most);
      EXPECT(step >= least && step <= least + 1); /* distances differ by one at most */
    }
    EXPECT(WINDOWS - at[most - 1] >=
           (int)(WINDOWS / most)); /* nor is more left over behind the last */
    EXPECT(WINDOWS - at[most - 1] <= (int)(WINDOWS / most) + 1);
  }
  scratch_end();
  all_ranks_passed();
}

static void at_random(void **state) {
  enum { SEEDS = 400, MOST = 20 };
  int at[WINDOWS], again[WINDOWS], taken[WINDOWS] = {0};
  (void)state;
  scratch_begin();
  const char *path = make_file();
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    EXPECT(windows(path, T, MOST, seed, at) == MOST);
    for (size_t s = 0; s < MOST; s++) {
      EXPECT(at[s] >= 0 && at[s] < WINDOWS &&
             (s == 0 || at[s] > at[s - 1])); /* in order, none twice */
      taken[at[s]]++;
    }
    if (seed % 100) continue;
    EXPECT(windows(path, T, MOST, seed, again) == MOST);
    EXPECT(memcmp(at, again, MOST * sizeof *at) == 0);
    EXPECT(windows(path, T, MOST, seed + SEEDS, again) == MOST);
    EXPECT(memcmp(at, again, MOST * sizeof *at) != 0);
  }
  /* Every window is taken 80 times on average, with a standard deviation of 8; five
   * of these leave room. */
  for (size_t w = 0; w < WINDOWS; w++) EXPECT(taken[w] > 40 && taken[w] < 120);
  /* "The same on every machine": what SplitMix64 from seed 1 gives, computed elsewhere. */
  static const int expected[MOST] = {5,  8,  14, 20, 39, 40, 42, 45, 48, 51,
                                     57, 63, 64, 66, 67, 72, 75, 79, 86, 88};
  EXPECT(windows(path, T, MOST, 1, at) == MOST);
  if (memcmp(at, expected, sizeof expected) != 0)
    for (size_t s = 0; s < MOST && world.rank == 0; s++) print_error("%d, ", at[s]);
  EXPECT(memcmp(at, expected, sizeof expected) == 0);
  scratch_end();
  all_ranks_passed();
}

static void refused(void **state) {
  sb_sequences q = {0};
  (void)state;
  scratch_begin();
  const char *path = make_file();
  EXPECT(sb_sequences_read(&world, path, SB_TOKENS_U16, VOCAB, TOKENS + 1, 0, 0, &q) ==
         SB_ERR_RANGE);
  EXPECT(strstr(sb_message(), "1003") && strstr(sb_message(), "1004") &&
         !strchr(sb_message(), '\n'));
  EXPECT(q.tokens == NULL);
  /* Only the rank that gets the last window meets the id beyond the vocabulary; all ranks fail. */
  EXPECT(sb_sequences_read(&world, path, SB_TOKENS_U16, 999, T, 0, 0, &q) == SB_ERR_RANGE);
  EXPECT(strstr(sb_message(), "999") && !strchr(sb_message(), '\n'));
  EXPECT(q.tokens == NULL);
  EXPECT(sb_sequences_read(&world, scratch_path("absent.bin"), SB_TOKENS_U16, VOCAB, T, 0, 0, &q) ==
         SB_ERR_IO);
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(all_of_them),
                                          cmocka_unit_test(evenly_spread),
                                          cmocka_unit_test(at_random), cmocka_unit_test(refused)};
RANKS_MAIN(tests)
