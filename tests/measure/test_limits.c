/* Measuring: what is timed is done as often as said, ranks agree on failures and figures, nothing
 * is left behind. How fast anything is, no test can say. */
#include "measure/limits.h"

#include <dirent.h>
#include <math.h>
#include <unistd.h>

#include "kernels/backend.h"
#include "measure/phases.h"
#include "measure/timing.h"
#include "folders/synth.h"
#include "tests/support/ranks.h"
#include "tests/support/scratch.h"

typedef struct counter {
  int calls, fails_at;
  useconds_t takes;
} counter;

static sb_status count(void *context) {
  counter *c = context;
  c->calls++;
  if (c->takes) usleep(c->takes);
  return c->calls == c->fails_at ? sb_fail(SB_ERR_IO, "the work went wrong") : SB_OK;
}

static void rounds_and_calls(void **state) {
  (void)state;
  counter slow = {.takes = 12000}, quick = {0};
  double seconds;
  EXPECT_OK(sb_time_best(&world, 3, count, &slow, &seconds));
  EXPECT(slow.calls == 2 + 3);
  EXPECT(seconds >= 0.012 && seconds < 10);
  EXPECT_OK(sb_time_best(&world, 3, count, &quick, &seconds));
  EXPECT(quick.calls > 2 + 3 && seconds < 0.01);
  EXPECT_OK(sb_time_best(NULL, 1, count, &slow, &seconds));
  all_ranks_passed();
}

static void one_rank_fails(void **state) {
  (void)state;
  counter c = {.takes = 10000, .fails_at = world.rank == world.size - 1 ? 3 : 0};
  double seconds;
  EXPECT(sb_time_best(&world, 5, count, &c, &seconds) == SB_ERR_IO);
  EXPECT(c.calls == 3);
  all_ranks_passed();
}

/* Everything is measured, the same on all ranks, and the disk is as it was. */
static void a_machine(void **state) {
  (void)state;
  const sb_config config = {.architecture = "LlamaForCausalLM",
                            .vocab = 40,
                            .hidden = 72,
                            .intermediate = 100,
                            .layers = 1,
                            .heads = 6,
                            .kv_heads = 3,
                            .head_dim = 12,
                            .rms_eps = 1e-5,
                            .rope_theta = 10000,
                            .tie_embeddings = true};
  sb_machine m = {.ranks = world.size};
  sb_backend *backend;
  sb_model *model;
  EXPECT_OK(sb_backend_cpu_create(SB_COMPUTE_F32, 1, &backend));
  EXPECT(scratch_create()); /* one per rank */
  EXPECT_OK(sb_limit_gemm(&world, backend, 1, &m.value[SB_FIGURE_GEMM_F32]));
  EXPECT_OK(sb_limit_memory(&world, backend, 1, &m));
  EXPECT_OK(sb_limit_network(&world, 1, &m));
  EXPECT_OK(sb_limit_sums(&world, backend, 1, &m));
  EXPECT_OK(sb_limit_disk(&world, scratch, 1, &m));
  EXPECT(rmdir(scratch) == 0);
  EXPECT_OK(sb_synth_load(&world, &config, SB_BF16, 0, (sb_blocking){32, 48, SB_GRID_ASYMMETRIC},
                          &model));
  EXPECT_OK(sb_phases_measure(model, backend, 20, 1, true, &m));
  sb_model_free(&model);
  backend->op->destroy(backend);
  for (int f = 0; f < SB_FIGURES; f++) {
    const bool elsewhere = f == SB_FIGURE_UPLOAD || f == SB_FIGURE_DOWNLOAD ||
                           f == SB_FIGURE_SUMS || f == SB_FIGURE_GEMM_BF16 ||
                           (f == SB_FIGURE_GATHER && world.size == 1);
    double most;
    EXPECT(MPI_Allreduce(&m.value[f], &most, 1, MPI_DOUBLE, MPI_MAX, world.comm) == (MPI_SUCCESS));
    EXPECT(m.value[f] == most);
    EXPECT(elsewhere ? m.value[f] == 0 : m.value[f] > 0 && isfinite(m.value[f]));
    if (f >= SB_FIRST_PHASE && !elsewhere) EXPECT(m.share[f] > 0);
  }
  EXPECT(m.network_count == (world.size > 1 ? SB_NETWORK_SIZES : 0));
  all_ranks_passed();
}

static void no_such_folder(void **state) {
  (void)state;
  sb_machine m = {0};
  EXPECT(sb_limit_disk(&world, "/tmp/no/such/folder", 1, &m) == SB_ERR_IO);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(rounds_and_calls), cmocka_unit_test(one_rank_fails),
    cmocka_unit_test(a_machine), cmocka_unit_test(no_such_folder)};
RANKS_MAIN(tests)
