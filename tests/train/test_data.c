/* Batches of token sources: every token says which file it is from and where it lies there, so the
 * samples of all ranks can be held against the order that train/data_order.h gives. */
#include "train/data.h"

#include <sys/resource.h>

#include "io/atomic.h"
#include "pass/pass.h"
#include "tests/support/shared_scratch.h"
#include "train/data_order.h"

enum { T = 8, BATCH = 7, STEPS = 60, VOCAB = 60000 };

/* Files a (two shards), b, c; token i of file number f is 10000 f + i. b is a table of llm.c with
 * 32-bit ids behind a header of 256 words, the others are raw 16-bit ids. */
static const size_t sizes[] = {10 * T + 3, 7 * T, 40 * T + 5, T + 7};
static const char *const names[] = {"a_00.bin", "a_01.bin", "b[1].bin", "c.bin"};
static char paths[4][1024], pattern[1024];

static void make_files(void) {
  enum { HEADER = 256 };
  for (size_t f = 0; f < 4; f++) {
    uint32_t words[HEADER + 40 * T + 5] = {20240801, 7, (uint32_t)sizes[f]};
    uint16_t halves[10 * T + 3];
    for (size_t i = 0; i < sizes[f]; i++) {
      words[HEADER + i] = (uint32_t)(10000 * f + i);
      if (f != 2) halves[i] = (uint16_t)words[HEADER + i];
    }
    snprintf(paths[f], sizeof paths[f], "%s", scratch_path(names[f]));
    if (world.rank != 0) continue;
    if (f == 2)
      EXPECT_OK(sb_file_write_atomic(paths[f], words, sizeof words));
    else
      EXPECT_OK(sb_file_write_atomic(paths[f], halves, sizes[f] * 2));
  }
  snprintf(pattern, sizeof pattern, "%s", scratch_path("a_*.bin"));
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
}

static sb_train_data *open_data(double a, double b, double c) {
  static sb_train_source sources[3];
  sources[0] = (sb_train_source){pattern, a};
  sources[1] = (sb_train_source){paths[2], b};
  sources[2] = (sb_train_source){paths[3], c};
  const sb_train_data_setup setup = {.world = &world,
                                     .width = SB_TOKENS_AUTO,
                                     .sources = sources,
                                     .count = 3,
                                     .vocab = VOCAB,
                                     .seqlen = T,
                                     .batch = BATCH,
                                     .seed = 3};
  sb_train_data *data = NULL;
  EXPECT_OK(sb_train_data_open(&setup, &data));
  return data;
}

/* starts[i] = the first token of sample i of the batch, on every rank. */
static void batch_of(const sb_train_data *data, uint64_t step, int *starts) {
  uint32_t tokens[BATCH * T];
  EXPECT_OK(sb_train_data_read(data, step, tokens));
  for (size_t i = 0; i < BATCH; i++) starts[i] = -1;
  for (size_t i = 0; i < sb_pass_local(&world, BATCH); i++) {
    for (size_t t = 0; t < T; t++) EXPECT(tokens[i * T + t] == tokens[i * T] + t);
    starts[i * (size_t)world.size + (size_t)world.rank] = (int)tokens[i * T];
  }
  EXPECT(MPI_Allreduce(MPI_IN_PLACE, starts, BATCH, MPI_INT, MPI_MAX, world.comm) == MPI_SUCCESS);
}

static void batches(void **state) {
  static const sb_data_source sources[] = {{17, 17}, {40, 40}, {1, 1}};
  const sb_data_order order = {3, 3, sources};
  size_t moved = 0, later = 0;
  int starts[BATCH];
  (void)state;
  scratch_begin();
  make_files();
  sb_train_data *data = open_data(0, 0, 0);
  EXPECT(sb_train_data_windows(data) == 58);
  EXPECT(sb_train_data_tokens(data) == sizes[0] + sizes[1] + sizes[2] + sizes[3]);
  for (uint64_t step = STEPS; step-- > 0;) { /* no order of reading */
    batch_of(data, step, starts);
    for (size_t i = 0; i < BATCH; i++) {
      const sb_data_place at = sb_data_order_at(&order, step * BATCH + i);
      const size_t second = at.source == 0 && at.window >= 10,
                   file = at.source == 0 ? second : at.source + 1;
      const int window = (int)(10000 * file + T * (at.window - 10 * second));
      const size_t slack = sizes[file] % T;
      if (at.pass == 0) EXPECT(starts[i] == window);
      EXPECT(starts[i] >= window && starts[i] <= window + (int)slack);
      later += at.pass > 0 && slack > 0;
      moved += starts[i] != window;
    }
  }
  EXPECT(moved > later / 2 && moved < later); /* slacks of 3, 5 and 7: 1 in 4 to 8 stays */
  sb_train_data_close(&data);
  scratch_end();
  all_ranks_passed();
}

static void weights(void **state) {
  int starts[BATCH], count[3] = {0};
  (void)state;
  scratch_begin();
  make_files();
  sb_train_data *data = open_data(0.25, 0.5, 0.25);
  for (uint64_t step = 0; step < STEPS; step++) {
    batch_of(data, step, starts);
    for (size_t i = 0; i < BATCH; i++) count[starts[i] < 20000 ? 0 : starts[i] < 30000 ? 1 : 2]++;
  }
  EXPECT(count[0] == 105 && count[1] == 210 && count[2] == 105);
  sb_train_data_close(&data);
  scratch_end();
  all_ranks_passed();
}

/* More shards than the soft limit lets a process open. */
static void many_shards(void **state) {
  enum { SHARDS = 100 };
  struct rlimit before, low;
  uint16_t ids[T];
  int starts[BATCH], seen = 0;
  (void)state;
  scratch_begin();
  for (size_t f = 0; world.rank == 0 && f < SHARDS; f++) {
    char name[32];
    snprintf(name, sizeof name, "part_%03zu.bin", f);
    for (size_t i = 0; i < T; i++) ids[i] = (uint16_t)(f * T + i);
    EXPECT_OK(sb_file_write_atomic(scratch_path(name), ids, sizeof ids));
  }
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  EXPECT(getrlimit(RLIMIT_NOFILE, &before) == 0);
  low = before;
  low.rlim_cur = SHARDS;
  EXPECT(setrlimit(RLIMIT_NOFILE, &low) == 0);
  sb_train_source source = {scratch_path("part_*.bin"), 0};
  const sb_train_data_setup setup = {.world = &world,
                                     .sources = &source,
                                     .count = 1,
                                     .width = SB_TOKENS_U16,
                                     .vocab = VOCAB,
                                     .seqlen = T,
                                     .batch = BATCH};
  sb_train_data *data = NULL;
  EXPECT_OK(sb_train_data_open(&setup, &data));
  EXPECT(data && sb_train_data_windows(data) == SHARDS);
  for (uint64_t step = 0; data && step < 3; step++) {
    batch_of(data, step, starts);
    for (size_t i = 0; i < BATCH; i++) seen += starts[i] % T == 0 && starts[i] < SHARDS * T;
  }
  EXPECT(seen == 3 * BATCH);
  sb_train_data_close(&data);
  EXPECT(setrlimit(RLIMIT_NOFILE, &before) == 0);
  scratch_end();
  all_ranks_passed();
}

/* The hash knows contents and weights, and neither the number of ranks nor the width of ids. */
static void fingerprints(void **state) {
  uint64_t files[3], shares[3];
  (void)state;
  scratch_begin();
  make_files();
  for (int i = 0; i < 3; i++) {
    sb_train_data *data = open_data(i == 1 ? 2 : 1, 1, 1);
    uint32_t other = 5;
    EXPECT_OK(sb_train_data_fingerprint(data, &files[i], &shares[i]));
    sb_train_data_close(&data);
    if (i == 1 && world.rank == 0) {
      FILE *file = fopen(paths[2], "r+b");
      EXPECT(file && fseek(file, 1024 + 4 * 20, SEEK_SET) == 0 && fwrite(&other, 4, 1, file) == 1 &&
             fclose(file) == 0);
    }
    EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  }
  EXPECT(files[0] == files[1] && shares[0] != shares[1]);
  EXPECT(files[0] != files[2] && shares[0] == shares[2]);
  scratch_end();
  all_ranks_passed();
}

static void refused(void **state) {
  const sb_train_data_setup good = {
      .world = &world, .count = 2, .vocab = VOCAB, .seqlen = T, .batch = BATCH, .seed = 3};
  sb_train_data_setup setup = good;
  sb_train_data *data = NULL;
  uint32_t tokens[BATCH * T];
  (void)state;
  scratch_begin();
  make_files();
  setup.sources = (const sb_train_source[]){{paths[2], 1}, {paths[3], 0}};
  EXPECT(sb_train_data_open(&setup, &data) == SB_ERR_USAGE && !data);
  EXPECT(strstr(sb_message(), "c.bin: has no weight, unlike ") != NULL);
  setup.sources = (const sb_train_source[]){{scratch_path("none_*.bin"), 0}, {paths[3], 0}};
  EXPECT(sb_train_data_open(&setup, &data) == SB_ERR_IO && !data);
  EXPECT(strstr(sb_message(), "none_*.bin") != NULL);
  setup.sources = (const sb_train_source[]){{paths[2], 0}, {paths[3], 0}};
  setup.seqlen = 2 * T;
  EXPECT(sb_train_data_open(&setup, &data) == SB_ERR_RANGE && !data);
  EXPECT(strstr(sb_message(), "c.bin: has 15 tokens") != NULL);
  setup = good;
  setup.sources = (const sb_train_source[]){{paths[0], 0}, {paths[3], 0}};
  setup.vocab = 30010;
  EXPECT_OK(sb_train_data_open(&setup, &data));
  sb_status status = SB_OK;
  for (uint64_t step = 0; status == SB_OK && step < STEPS; step++)
    status = sb_world_agree(&world, sb_train_data_read(data, step, tokens));
  EXPECT(status == SB_ERR_RANGE && strstr(sb_message(), "c.bin: token 10 has id 30010") != NULL);
  sb_train_data_close(&data);
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(batches), cmocka_unit_test(weights), cmocka_unit_test(many_shards),
    cmocka_unit_test(fingerprints), cmocka_unit_test(refused)};
RANKS_MAIN(tests)
