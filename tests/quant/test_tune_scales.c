/* Gradients of scales against finite differences of the divergence; training against what it is
 * for; both the same, bit for bit, on any number of ranks. */
#include "tests/kernels/scale_by_hand.h"
#include "tests/support/golden.h"

#include <math.h>

#include "kernels/shared/trellis.h"
#include "model/config_read.h"
#include "model/factors.h"
#include "quant/encode.h"
#include "quant/scale_gradients.h"
#include "quant/tune_scales.h"
#include "tests/support/random_orders.h"
#include "tests/support/units.h"

typedef struct kind {
  const char *name;
  sb_reorder mode;
  sb_code_kind code_kind;
  bool norms;
  unsigned tables; /* bit i: table i is coded and trained */
} kind;

static const kind kinds[] = {
    {"gqa-tied", SB_REORDER_NONE, SB_GRID_ASYMMETRIC, true, 1},
    {"mha-untied", SB_REORDER_FUSED, SB_GRID_SYMMETRIC, false, 0},
    {"mha-untied", SB_REORDER_FUSED, SB_GRID_BY_WIDTH, false, 3},
    {"rope-parameters", SB_REORDER_INDEXED, SB_GRID_ASYMMETRIC_BF16, true, 0},
    {"mha-untied", SB_REORDER_NONE, SB_GRID_ASYMMETRIC_6BIT, true, 2},
    {"gqa-tied", SB_REORDER_NONE, SB_TRELLIS_12, true, 1}};
#ifdef SB_TEST_ON_CUDA /* a stand-in is slow */
enum { KINDS = 1, TRIED = 1, SEQLEN = 48 };
#else
enum { KINDS = sizeof kinds / sizeof *kinds, TRIED = 3, EPOCHS = 10, SEQLEN = 48 };
#endif
/* Groups of tables are tried beside those of layers. */
enum { OF_TABLES = SB_SCALE_NORM + 1, SCALE_KINDS = OF_TABLES + SB_TABLES };

static sb_trained trained_of(const kind *k) {
  return (sb_trained){k->norms, {k->tables & 1, k->tables & 2}};
}

/* A model, itself packed to a mix of widths, and a pass through that which knows
 * what the model predicts. */
typedef struct trainee {
  golden source;
  sb_model *packed;
  sb_pass *pass;
  sb_trained what;
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
  t->what = trained_of(k);
  golden_setup setup = {.name = k->name,
                        .world = of,
                        .orders = k->mode == SB_REORDER_NONE ? NULL : &orders,
                        .divergence = true,
                        GOLDEN_DEFAULTS};
  setup.blocking.code_kind = k->code_kind;
  if (sb_is_trellis(k->code_kind)) setup.blocking.rows = 64; /* of a tile: padding takes time */
  golden_open(&t->source, &setup);
  sb_orders_free(&orders);
  golden_mixed_bits(t->source.model, 1, 4, 7);
  if (k->tables) golden_mixed_tables(t->source.model, 1, 4, 9);
  EXPECT_OK(sb_factors_choose(t->source.model));
  EXPECT_OK(sb_encode_nearest(t->source.model, &t->packed));
  EXPECT_OK(sb_pass_learn(t->source.pass));
  const sb_pass_setup pass = {.model = t->packed,
                              .backend = t->source.backend,
                              .tokens = t->source.sequences.tokens,
                              .sequences = t->source.sequences.count,
                              .seqlen = SEQLEN,
                              .gradients = true,
                              .norm_gradients = k->norms,
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

/* Of all numbers this rank owns; how many those are. */
static float *gradients_of(trainee *t, size_t *owned) {
  sb_scales *scales = NULL;
  sb_scale_gradients *gradients = NULL;
  const float *values = NULL;
  double loss = NAN;
  EXPECT_OK(sb_scales_create(t->packed, t->what, &scales));
  EXPECT_OK(sb_scale_gradients_create(scales, t->packed, t->source.backend, &gradients));
  EXPECT_OK(sb_scale_gradients_measure(gradients, t->pass, &values, &loss));
  EXPECT(loss > 0.001);
  *owned = sb_scales_before(scales, sb_scales_parts(scales));
  float *out = malloc((*owned + 1) * sizeof *out);
  memcpy(out, values, *owned * sizeof *out);
  sb_scale_gradients_free(&gradients);
  sb_scales_free(&scales);
  return out;
}

/* The numbers of a world of one, in their order. */
typedef struct list {
  sb_trained what;
  size_t at;
  const sb_table *table, *tables; /* of the unit at hand, or NULL; of the model */
  sb_scale_number *numbers;
  int *kinds;
} list;

static void put_number(void *context, size_t index, const sb_scale_number *number) {
  const list *l = context;
  l->numbers[l->at + index] = *number;
  l->kinds[l->at + index] =
      l->table ? (int)OF_TABLES + (int)(l->table - l->tables) : (int)number->kind;
}

static sb_status list_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                           void *data) {
  list *l = context;
  l->tables = m->tables;
  l->table = sb_model_table(m, place->tensor);
  l->at += sb_scale_numbers_visit(m, l->what, place, unit, data, put_number, l);
  return SB_OK;
}

static sb_scale_number *numbers_of(trainee *t, size_t owned, int *kinds_of) {
  list l = {t->what, 0, NULL, NULL, calloc(owned, sizeof *l.numbers), kinds_of};
  EXPECT_OK(sb_model_visit_owned(t->packed, list_unit, &l));
  EXPECT(l.at == owned);
  return l.numbers;
}

static double present(const sb_scale_number *number) {
  return sb_scale_number_value(number);
}

/* The divergence once a number has been multiplied by exp(by), about: the first step of Adam is one
 * of the rate. *log = its logarithm then. */
static double loss_after(trainee *t, size_t k, const sb_scale_number *number, double by,
                         size_t owned, double *log_of) {
  sb_scales *scales = NULL;
  float *direction = calloc(owned, sizeof *direction);
  double loss = NAN;
  direction[k] = by > 0 ? -1.0f : 1.0f; /* the step goes against the gradient */
  if (number->kind == SB_SCALE_NORM && present(number) < 0) direction[k] *= -1.0f;
  EXPECT_OK(sb_scales_create(t->packed, t->what, &scales));
  sb_scales_step(scales, direction, fabs(by) / sb_scales_pace(number));
  sb_scales_free(&scales);
  free(direction);
  sb_pass_forget(t->pass);
  EXPECT_OK(sb_pass_loss(t->pass, &loss));
  *log_of = log(fabs(present(number)));
  return loss;
}

/* What is tried: all numbers of a world of one, the kind of each, and its gradient. */
typedef struct tried {
  size_t owned;
  sb_scale_number *numbers;
  int *kinds; /* of sb_scale_kind, or OF_TABLES + table */
  double *g;  /* of logarithms; 0 once it was looked at */
} tried;

static size_t largest_of(const tried *all, int of) {
  size_t most = SIZE_MAX;
  for (size_t k = 0; k < all->owned; k++)
    if (all->kinds[k] == of && (most == SIZE_MAX || fabs(all->g[k]) > fabs(all->g[most]))) most = k;
  return most;
}

/* Central differences at 1/32, over the logarithms that were written: the third derivative adds 2%
 * where it was seen largest, float32 losses some 1e-7. A second try starts from rounded numbers, so
 * up to 2^-9 from where the gradient was taken (bfloat16 norms). Scales of 6 bits are 1/16 to 1/32
 * apart, so neither side is as far as the other, and the second derivative counts: up to 19% were
 * seen. The largest are tried, each of which is not looked at again. False where there are none of
 * this kind. */
static bool check_differences(trainee *t, const tried *all, int of) {
  const double h = 0x1p-5, close = is_6bit(t->packed->blocking.code_kind) ? 0.25 : 0.06;
  double largest = 0;
  for (int tries = 0; tries < TRIED; tries++) {
    double above, below, now;
    const size_t k = largest_of(all, of);
    if (k == SIZE_MAX) return false;
    const sb_scale_number *number = &all->numbers[k];
    largest = fmax(largest, fabs(all->g[k]));
    const double up = loss_after(t, k, number, h, all->owned, &above),
                 down = loss_after(t, k, number, -2 * h, all->owned, &below);
    const double difference = (up - down) / (above - below);
    if (!(fabs(difference - all->g[k]) <= close * largest))
      print_error("number %zu of kind %d: %g, difference %g\n", k, of, all->g[k], difference);
    EXPECT(fabs(difference - all->g[k]) <= close * largest);
    loss_after(t, k, number, h, all->owned, &now); /* back */
    all->g[k] = 0;
  }
  EXPECT(largest > 1e-4);
  return true;
}

static void gradients_are_those_of_the_divergence(void **state) {
  (void)state;
  for (int i = 0; i < KINDS; i++) {
    trainee t;
    tried all = {0};
    open_trainee(&t, &kinds[i], world_alone());
    float *values = gradients_of(&t, &all.owned);
    all.kinds = calloc(all.owned, sizeof *all.kinds);
    all.numbers = numbers_of(&t, all.owned, all.kinds);
    all.g = calloc(all.owned, sizeof *all.g);
    for (size_t k = 0; k < all.owned; k++)
      all.g[k] = (double)values[k] * (all.kinds[k] == SB_SCALE_NORM ? present(&all.numbers[k]) : 1);
    for (int of = 0; of < SCALE_KINDS; of++) {
      const bool found = check_differences(&t, &all, of);
      if (of >= OF_TABLES) EXPECT(found == (kinds[i].tables >> (of - OF_TABLES) & 1));
    }
    free(all.g);
    free(all.kinds);
    free(all.numbers);
    free(values);
    close_trainee(&t);
  }
  all_ranks_passed();
}

#ifndef SB_TEST_ON_CUDA
/* This rank's runs of what one rank has. */
static void gradients_are_the_same(void **state) {
  (void)state;
  for (int i = 0; i < KINDS; i++) {
    trainee mine, all;
    size_t owned, count, at = 0, before = 0;
    open_trainee(&mine, &kinds[i], NULL);
    open_trainee(&all, &kinds[i], world_alone());
    float *got = gradients_of(&mine, &owned), *want = gradients_of(&all, &count);
    sb_scales *scales = NULL;
    size_t *starts = calloc((size_t)world.size + 1, sizeof *starts);
    EXPECT_OK(sb_scales_create(mine.packed, mine.what, &scales));
    for (size_t part = 0; part < sb_scales_parts(scales); part++) {
      sb_scales_owners(scales, part, starts);
      const size_t first = starts[world.rank], own = starts[world.rank + 1] - first;
      EXPECT(memcmp(got + at, want + before + first, own * sizeof *got) == 0);
      at += own;
      before += starts[world.size];
    }
    EXPECT(at == owned && before == count);
    if (!mine.what.norms && !kinds[i].tables && !sb_is_trellis(kinds[i].code_kind))
      EXPECT(count == mine.packed->quant_groups);
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
      .trained = t->what, .batch = 1, .epochs = EPOCHS, .rate = 0.1, .activation_bytes = 1};
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
