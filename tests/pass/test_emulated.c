/* Passes of mixed precisions have the same bits for any number of ranks, threads and sequences in a
 * wave, and random bits that depend on the batch's key alone. */
#include "tests/support/golden.h"
#include "tests/support/gradient_checksums.h"

#include <math.h>

enum { T = 24, SEQUENCES = 5 };

typedef struct way { /* of running a pass */
  const sb_world *world;
  int threads;
  size_t activation_bytes, keep_bytes;
  uint64_t key;
  bool stochastic;
  bool low;
} way;

typedef struct outcome {
  double loss;
  uint64_t gradients[SEQUENCES];
} outcome;

/* Every GEMM another precision. */
static void mixed(const sb_arch *arch, sb_precision_map *map) {
  EXPECT_OK(sb_precision_map_create(arch, SB_PRECISION_HIGH, map));
  for (size_t i = 0; i < map->count; i++)
    for (size_t g = 0; g < SB_GEMM_KINDS; g++)
      map->gemms[i][g] = (sb_precision)(mix(3 * i + g) % SB_PRECISION_COUNT);
}

/* The loss of the same pass on processors: another device rounds sums in another order, which moves
 * a number over the border between two codes now and then. */
static double loss_on_cpu(const sb_pass_setup *setup) {
  sb_pass_setup here = *setup;
  sb_pass *pass = NULL;
  double loss = NAN;
  EXPECT_OK(sb_backend_cpu_create(SB_COMPUTE_F32, 1, &here.backend));
  EXPECT_OK(sb_pass_create(&here, &pass));
  EXPECT_OK(sb_pass_loss(pass, &loss));
  sb_pass_free(&pass);
  here.backend->op->destroy(here.backend);
  return loss;
}

/* Entries of sequences that are not this rank's stay 0. */
static void run(const way *w, outcome *out) {
  golden g;
  sb_precision_map map = {0};
  sb_pass *pass = NULL;
  memset(out, 0, sizeof *out);
  golden_open(&g, &(golden_setup){.name = "gqa-tied",
                                  .world = w->world,
                                  .threads = w->threads,
                                  .blocking = {16, 32, SB_GRID_ASYMMETRIC},
                                  .activation_bytes = (size_t)1 << 30});
  gradient_checksums sums = {.model = g.model, .backend = g.backend, .of = out->gradients};
  const size_t local = sb_pass_local(w->world, SEQUENCES);
  uint32_t *tokens = calloc(local * T + 1, sizeof *tokens);
  for (size_t i = 0; i < local * T; i++)
    tokens[i] = (uint32_t)(mix(sequence_of(w->world, i / T) * T + i % T) % g.model->config.vocab);
  mixed(&g.model->arch, &map);
  sb_lowprec_options options = sb_lowprec_options_default();
  options.stochastic = w->stochastic;
  const sb_pass_setup setup = {.model = g.model,
                               .backend = g.backend,
                               .tokens = tokens,
                               .sequences = SEQUENCES,
                               .seqlen = T,
                               .gradients = true,
                               .activation_bytes = w->activation_bytes,
                               .keep_bytes = w->keep_bytes,
                               .precisions = w->low ? &map : NULL,
                               .lowprec = &options};
  EXPECT_OK(sb_pass_create(&setup, &pass));
  sb_pass_set_batch(pass, tokens, w->key);
  gradient_checksums_measure(&sums, pass, SEQUENCES, &out->loss);
  /* high again, then low again */
  double loss;
  EXPECT_OK(sb_pass_set_precisions(pass, NULL, NULL));
  EXPECT_OK(sb_pass_loss(pass, &loss));
  EXPECT((loss != out->loss) == w->low);
  if (w->low) EXPECT_OK(sb_pass_set_precisions(pass, &map, &options));
  EXPECT_OK(sb_pass_loss(pass, &loss));
  EXPECT(loss == out->loss);
  sb_pass_free(&pass);
  EXPECT(fabs(loss_on_cpu(&setup) - out->loss) < 1e-3);
  sb_precision_map_free(&map);
  free(tokens);
  golden_close(&g);
}

/* Of the sequences that a rank of `of` has. */
static bool same(const sb_world *of, const outcome *a, const outcome *b) {
  bool equal = a->loss == b->loss;
  for (size_t i = 0; i < sb_pass_local(of, SEQUENCES); i++) {
    const size_t s = sequence_of(of, i);
    equal = equal && a->gradients[s] == b->gradients[s] && a->gradients[s] != 0;
  }
  return equal;
}

static void passes(void **state) {
  (void)state;
  const sb_world *alone = world_alone();
  const size_t plenty = (size_t)1 << 30;
  outcome expected, got, high;
  run(&(way){alone, 1, plenty, 0, 1, true, true}, &expected);
  EXPECT(expected.gradients[0] != expected.gradients[1]);
  run(&(way){&world, 1, plenty, 0, 1, true, true}, &got);
  EXPECT(same(&world, &got, &expected));
  run(&(way){&world, 2, 1, 0, 1, true, true}, &got); /* one sequence a wave */
  EXPECT(same(&world, &got, &expected));
  run(&(way){&world, 3, plenty, plenty, 1, true, true}, &got);
  EXPECT(same(&world, &got, &expected));
  /* Another key moves gradients, not the loss: X and W are rounded to nearest. */
  run(&(way){alone, 1, plenty, 0, 2, true, true}, &got);
  EXPECT(got.loss == expected.loss);
  for (size_t s = 0; s < SEQUENCES; s++) EXPECT(got.gradients[s] != expected.gradients[s]);
  run(&(way){alone, 1, plenty, 0, 1, false, true}, &expected);
  run(&(way){alone, 1, plenty, 0, 2, false, true}, &got);
  EXPECT(same(alone, &got, &expected));
  /* The mean error of some layers in low precision is small beside the loss, and not 0. */
  run(&(way){alone, 1, plenty, 0, 1, true, false}, &high);
  EXPECT(high.loss != expected.loss && fabs(high.loss - expected.loss) < 0.05 * high.loss);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(passes)};
RANKS_MAIN(tests)
