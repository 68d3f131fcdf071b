/* Gradients of scales against finite differences of the divergence; training against what it is
 * for; both the same, bit for bit, on any number of ranks. */
#include "tests/support/golden.h"

#include <math.h>

#include "model/config_read.h"
#include "quant/encode.h"
#include "quant/scale_gradients.h"
#include "quant/tune_scales.h"
#include "tests/support/random_orders.h"
#include "tests/support/units.h"

typedef struct kind {
  const char *name;
  sb_reorder mode;
  sb_code_kind code_kind;
} kind;

static const kind kinds[] = {{"gqa-tied", SB_REORDER_NONE, SB_GRID_ASYMMETRIC},
                             {"mha-untied", SB_REORDER_FUSED, SB_GRID_SYMMETRIC},
                             {"rope-parameters", SB_REORDER_INDEXED, SB_GRID_ASYMMETRIC}};
#ifdef SB_TEST_ON_CUDA /* a stand-in is slow */
enum { KINDS = 1, TRIED = 1, SEQLEN = 48 };
#else
enum { KINDS = sizeof kinds / sizeof *kinds, TRIED = 3, EPOCHS = 10, SEQLEN = 48 };
#endif

/* A model, itself packed to a mix of widths, and a pass through that which knows
 * what the model predicts. */
typedef struct trainee {
  golden source;
  sb_model *packed;
  sb_pass *pass;
} trainee;

static void orders_of(const kind *k, sb_orders *orders) {
  char path[1024];
  sb_config config;
  sb_arch arch = {0};
  snprintf(path, sizeof path, "%s/tests/golden/%s", SB_SOURCE_DIR, k->name);
  EXPECT_OK(sb_config_read(path, &config));
  EXPECT_OK(sb_arch_create(&config, &arch));
  if (k->mode == SB_REORDER_FUSED) EXPECT_OK(random_fused(&arch, ALL_CLASSES, 5, orders));
  if (k->mode == SB_REORDER_INDEXED) EXPECT_OK(random_indexed(&arch, 16, 32, 5, orders));
  sb_arch_free(&arch);
}

static void open_trainee(trainee *t, const kind *k, const sb_world *of) {
  sb_orders orders = {0};
  orders_of(k, &orders);
  golden_setup setup = {.name = k->name,
                        .world = of,
                        .orders = k->mode == SB_REORDER_NONE ? NULL : &orders,
                        .divergence = true,
                        GOLDEN_DEFAULTS};
  setup.blocking.code_kind = k->code_kind;
  golden_open(&t->source, &setup);
  sb_orders_free(&orders);
  golden_mixed_bits(t->source.model, 1, 4, 7);
  EXPECT_OK(sb_encode_nearest(t->source.model, &t->packed));
  EXPECT_OK(sb_pass_learn(t->source.pass));
  const sb_pass_setup pass = {.model = t->packed,
                              .backend = t->source.backend,
                              .tokens = t->source.sequences.tokens,
                              .sequences = t->source.sequences.count,
                              .seqlen = SEQLEN,
                              .gradients = true,
                              .divergence = true,
                              .activation_bytes = 1}; /* one sequence a wave */
  EXPECT_OK(sb_pass_create(&pass, &t->pass));
  EXPECT_OK(sb_pass_learn_from(t->pass, t->source.pass));
  EXPECT(sb_pass_learn_from(t->pass, t->source.pass) == SB_ERR_INTERNAL); /* it has forgotten */
}

static void close_trainee(trainee *t) {
  sb_pass_free(&t->pass);
  sb_model_free(&t->packed);
  golden_close(&t->source);
}

/* Of all groups this rank owns; the number of those. */
static float *gradients_of(trainee *t, size_t *owned) {
  sb_scales *scales = NULL;
  sb_scale_gradients *gradients = NULL;
  const float *values = NULL;
  double loss = NAN;
  EXPECT_OK(sb_scales_create(t->packed, false, &scales));
  EXPECT_OK(sb_scale_gradients_create(scales, t->packed, t->source.backend, &gradients));
  EXPECT_OK(sb_scale_gradients_measure(gradients, t->pass, &values, &loss));
  EXPECT(loss > 0.001);
  *owned = sb_scales_before(scales, t->packed->config.layers);
  float *out = malloc((*owned + 1) * sizeof *out);
  memcpy(out, values, *owned * sizeof *out);
  sb_scale_gradients_free(&gradients);
  sb_scales_free(&scales);
  return out;
}

/* Bits of a group, of a world of one, which owns them all. */
static unsigned width_of(const sb_model *m, size_t group) {
  size_t i = 0;
  while (i + 1 < m->arch.matrix_count && group >= m->matrices[i + 1].first_group) i++;
  const sb_matrix *matrix = &m->matrices[i];
  const size_t across = sb_tiling_block_cols(&matrix->tiling), at = group - matrix->first_group,
               r = at / across;
  return m->bits[matrix->first_block + r / matrix->tiling.block_rows * across + at % across];
}

/* The divergence once the scale of a group has been multiplied by exp(by): the first step of Adam
 * is one of the rate, of the outermost level. */
static double loss_after(trainee *t, size_t group, double by, size_t owned) {
  sb_scales *scales = NULL;
  float *direction = calloc(owned, sizeof *direction);
  double loss = NAN;
  direction[group] = by > 0 ? -1.0f : 1.0f;
  EXPECT_OK(sb_scales_create(t->packed, false, &scales));
  sb_scales_step(scales, direction, fabs(by) * (1u << (width_of(t->packed, group) - 1)));
  sb_scales_free(&scales);
  free(direction);
  sb_pass_forget(t->pass);
  EXPECT_OK(sb_pass_loss(t->pass, &loss));
  return loss;
}

/* Central differences at 1/32: scales are fp16, so each end is off by up to 2^-11, 1.6% of the
 * difference; the third derivative adds 2% where it was seen largest, float32 losses some 1e-7. */
static void gradients_are_those_of_the_divergence(void **state) {
  (void)state;
  for (int i = 0; i < KINDS; i++) {
    trainee t;
    size_t owned;
    open_trainee(&t, &kinds[i], world_alone());
    float *g = gradients_of(&t, &owned);
    double largest = 0;
    for (size_t k = 0; k < owned; k++) largest = fmax(largest, fabs((double)g[k]));
    for (int tried = 0; tried < TRIED;
         tried++) { /* the largest ones, each of which is not looked at again */
      size_t most = 0;
      for (size_t k = 0; k < owned; k++)
        if (fabsf(g[k]) > fabsf(g[most])) most = k;
      const double h = 0x1p-5, up = loss_after(&t, most, h, owned),
                   down = loss_after(&t, most, -2 * h, owned);
      const double difference = (up - down) / (2 * h);
      if (fabs(difference - (double)g[most]) > 0.06 * largest)
        print_error("%s, group %zu: %g, difference %g\n", kinds[i].name, most, (double)g[most],
                    difference);
      EXPECT(fabs(difference - (double)g[most]) <= 0.06 * largest);
      loss_after(&t, most, h, owned); /* back */
      g[most] = 0;
    }
    free(g);
    close_trainee(&t);
  }
  all_ranks_passed();
}

#ifndef SB_TEST_ON_CUDA
/* This rank's run of what one rank has. */
static void gradients_are_the_same(void **state) {
  (void)state;
  for (int i = 0; i < KINDS; i++) {
    trainee mine, all;
    size_t owned, count, at = 0;
    open_trainee(&mine, &kinds[i], NULL);
    open_trainee(&all, &kinds[i], world_alone());
    float *got = gradients_of(&mine, &owned), *want = gradients_of(&all, &count);
    sb_scales *scales = NULL;
    size_t *starts = calloc((size_t)world.size + 1, sizeof *starts);
    EXPECT_OK(sb_scales_create(mine.packed, false, &scales));
    EXPECT(count == mine.packed->quant_groups);
    for (size_t layer = 0; layer < mine.packed->config.layers; layer++) {
      sb_scales_owners(scales, layer, starts);
      const size_t first = starts[world.rank], own = starts[world.rank + 1] - first;
      const size_t before = sb_model_first_group(mine.packed, layer);
      EXPECT(starts[world.size] == sb_model_first_group(mine.packed, layer + 1) - before);
      EXPECT(memcmp(got + at, want + before + first, own * sizeof *got) == 0);
      at += own;
    }
    EXPECT(at == owned);
    sb_scales_free(&scales);
    free(starts);
    free(got);
    free(want);
    close_trainee(&mine);
    close_trainee(&all);
  }
  all_ranks_passed();
}

static void train(trainee *t, sb_tune_stats *stats) {
  const sb_tune_options options = {
      .batch = 1, .epochs = EPOCHS, .rate = 0.1, .activation_bytes = 1};
  EXPECT_OK(sb_tune(t->source.model, t->packed, t->source.backend, &t->source.sequences, &options,
                    stats));
  sb_pass_forget(t->pass);
}

static void training_brings_it_nearer(void **state) {
  (void)state;
  for (int i = 0; i < KINDS; i++) {
    trainee mine, all;
    sb_tune_stats stats, alone;
    double before = NAN, after = NAN;
    open_trainee(&mine, &kinds[i], NULL);
    open_trainee(&all, &kinds[i], world_alone());
    EXPECT_OK(sb_pass_loss(mine.pass, &before));
    EXPECT(units_equal(mine.packed, all.packed));
    train(&mine, &stats);
    train(&all, &alone);
    EXPECT(units_equal(mine.packed, all.packed) && stats.before == alone.before &&
           stats.after == alone.after);
    EXPECT(stats.steps == EPOCHS * mine.source.sequences.count && stats.after < stats.before);
    EXPECT_OK(sb_pass_loss(mine.pass, &after));
    if (!(after < 0.8 * before))
      print_error("%s: %g before, %g after\n", kinds[i].name, before, after);
    EXPECT(after < 0.8 * before); /* 0.4 to 0.6 of it were seen */
    close_trainee(&mine);
    close_trainee(&all);
  }
  all_ranks_passed();
}

/* A scale so large that its gradient overflows after some steps: the coded model is as it was, and
 * both can be walked through again. */
static void what_overflows_leaves_the_model(void **state) {
  trainee t, kept;
  double before = NAN, after = NAN;
  sb_tune_stats stats;
  (void)state;
  open_trainee(&t, &kinds[0], NULL);
  open_trainee(&kept, &kinds[0], NULL);
  EXPECT_OK(sb_pass_loss(t.pass, &before));
  const sb_tune_options options = {.batch = 1, .epochs = 3, .rate = 3000, .activation_bytes = 1};
  EXPECT(sb_tune(t.source.model, t.packed, t.source.backend, &t.source.sequences, &options,
                 &stats) == SB_ERR_NUMERIC);
  EXPECT(!strchr(sb_message(), '\n'));
  EXPECT(units_equal(t.packed, kept.packed));
  sb_pass_forget(t.pass);
  EXPECT_OK(sb_pass_loss(t.pass, &after));
  EXPECT(before == after);
  sb_tune_stats trained;
  train(&t, &trained);
  train(&kept, &stats);
  EXPECT(units_equal(t.packed, kept.packed) && trained.after == stats.after);
  close_trainee(&t);
  close_trainee(&kept);
  all_ranks_passed();
}
#endif

#ifdef SB_TEST_ON_CUDA /* on one rank */
static const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_are_those_of_the_divergence)};
#else
static const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_are_those_of_the_divergence),
                                          cmocka_unit_test(gradients_are_the_same),
                                          cmocka_unit_test(training_brings_it_nearer),
                                          cmocka_unit_test(what_overflows_leaves_the_model)};
#endif
RANKS_MAIN(tests)
