/* Output folders multiplied as they are: logits are those of the dequantized weights to rounding,
 * in every order of channels, and the loss has the same bits on any number of ranks and threads. */
#include "tests/support/golden.h"

#include <math.h>

#include "model/config_read.h"
#include "tests/support/random_orders.h"
#include "tests/support/shared_scratch.h"

static float *logits_of(golden *g, size_t *count) {
  *count = g->sequences.local > 0 ? 48 * g->model->config.vocab : 0;
  float *out = calloc(48 * g->model->config.vocab, sizeof *out);
  EXPECT_OK(sb_pass_logits(g->pass, 0, out));
  return out;
}

static double loss_of(const golden_setup *setup) {
  golden g;
  double loss = NAN;
  golden_open(&g, setup);
  EXPECT_OK(sb_pass_loss(g.pass, &loss));
  golden_close(&g);
  return loss;
}

/* Sums of up to 192 products are added up in another order in each of the 2 layers' 7 matrices, and
 * in the head where it is coded, in f32: differences of 5e-6 of the largest logit were seen, 5e-5
 * are allowed. */
static void compare_logits(golden_setup setup) {
  golden dense, packed;
  size_t count, same;
  double worst = 0, largest = 0;
  golden_open(&dense, &setup);
  setup.keep_packed = true;
  golden_open(&packed, &setup);
  float *want = logits_of(&dense, &count), *got = logits_of(&packed, &same);
  EXPECT(count == same);
  for (size_t i = 0; i < count; i++) {
    EXPECT(isfinite(got[i]));
    largest = fmax(largest, fabs((double)want[i]));
    worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
  }
  EXPECT(worst <= 5e-5 * largest && (largest > 0 || count == 0));
  free(want);
  free(got);
  golden_close(&dense);
  golden_close(&packed);
}

static void write_output(const char *name, sb_blocking blocking, const sb_orders *orders,
                         uint64_t seed, bool tables, const char *folder) {
  golden g;
  sb_output_stats stats;
  golden_setup setup = {.name = name, .orders = orders, GOLDEN_DEFAULTS};
  setup.blocking = blocking;
  golden_open(&g, &setup);
  golden_mixed_bits(g.model, 1, 8, seed);
  if (tables) golden_mixed_tables(g.model, 1, 8, seed);
  golden_write(&g, folder, &stats);
  golden_close(&g);
}

static void check(const char *name, sb_blocking blocking, sb_reorder mode, uint64_t seed,
                  bool tables) {
  char path[1024];
  sb_config config;
  sb_arch arch = {0};
  sb_orders orders = {0};
  const char *folder = scratch_path("packed");
  snprintf(path, sizeof path, "%s/tests/golden/%s", SB_SOURCE_DIR, name);
  EXPECT_OK(sb_config_read(path, &config));
  EXPECT_OK(sb_arch_create(&config, &arch));
  if (mode == SB_REORDER_FUSED) EXPECT_OK(random_fused(&arch, ALL_CLASSES, seed, &orders));
  if (mode == SB_REORDER_INDEXED)
    EXPECT_OK(random_indexed(&arch, blocking.rows, blocking.cols, seed, &orders));
  write_output(name, blocking, mode == SB_REORDER_NONE ? NULL : &orders, seed, tables, folder);
  sb_orders_free(&orders);
  sb_arch_free(&arch);

  golden_setup setup = {.name = name, .output = folder, GOLDEN_DEFAULTS};
  compare_logits(setup);
  setup.keep_packed = true;
  const double loss = loss_of(&setup);
  setup.threads = 3;
  EXPECT(loss_of(&setup) == loss);
  setup.world = world_alone();
  EXPECT(loss_of(&setup) == loss);
}

#ifdef SB_TEST_ON_CUDA /* the stand-in is slow */
enum { SOME = 1, MODES = SB_REORDER_NONE };
#else
enum { SOME = GOLDENS, MODES = SB_REORDER_INDEXED };
#endif

static void in_every_order(void **state) {
  (void)state;
  scratch_begin();
  for (size_t i = 0; i < SOME; i++)
    for (int mode = SB_REORDER_NONE; mode <= MODES; mode++) {
      const bool tables = (i + (size_t)mode) % 2 == 0; /* embedding and head are packed, too */
      check(golden_names[i], (sb_blocking){16, 32, SB_GRID_ASYMMETRIC}, (sb_reorder)mode, i,
            tables);
      check(golden_names[i], (sb_blocking){7, 10, SB_GRID_SYMMETRIC}, (sb_reorder)mode, i + 100,
            !tables);
    }
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(in_every_order)};
RANKS_MAIN(tests)
