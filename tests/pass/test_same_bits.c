/* The loss, and every logit and gradient of every sequence, have the same bits for any number of
 * ranks, threads and sequences in a wave, and whatever is kept from the way forward. What they are
 * held against is computed by each rank for itself, as a world of one. */
#include "folders/hf_load.h"
#include "tests/support/golden.h"
#include "tests/support/gradient_checksums.h"

/* Five windows of 19 of the golden tokens: unequal shares on 2, 3 and 4 ranks, and nothing for two
 * of 7. */
enum { T = 19, SEQUENCES = 5 };

typedef struct way { /* of running a pass */
  const sb_world *world;
  int threads;
  size_t activation_bytes;
  sb_compute compute;
  size_t keep_bytes;
} way;

typedef struct outcome {
  double loss, loss_alone; /* of the pass with gradients, and of one for the loss alone */
  uint64_t logits[SEQUENCES];
  uint64_t gradients[SEQUENCES];
} outcome;

static void logits(sb_pass *pass, const sb_model *model, outcome *out) {
  const sb_world *of = model->world;
  const size_t count = T * model->config.vocab;
  float *values = calloc(count, sizeof *values);
  for (size_t i = 0; i * (size_t)of->size < SEQUENCES; i++) {
    EXPECT_OK(sb_pass_logits(pass, i, values));
    if (sequence_of(of, i) < SEQUENCES)
      out->logits[sequence_of(of, i)] = checksum(0, values, count);
  }
  free(values);
}

/* Entries of sequences that are not this rank's stay 0. */
static void run(const char *name, const way *w, outcome *out) {
  char folder[1024], path[2048];
  sb_backend *backend = NULL;
  sb_model *model = NULL;
  sb_sequences sequences = {0};
  sb_pass *pass = NULL;
  memset(out, 0, sizeof *out);
  snprintf(folder, sizeof folder, "%s/tests/golden/%s", SB_SOURCE_DIR, name);
  snprintf(path, sizeof path, "%s/tokens.bin", folder);
  EXPECT_OK(sb_backend_cpu_create(w->compute, w->threads, &backend));
  EXPECT_OK(sb_hf_load(w->world, folder, (sb_blocking){16, 32, SB_GRID_ASYMMETRIC}, true, &model));
  EXPECT_OK(
      sb_sequences_read(w->world, path, SB_TOKENS_U16, model->config.vocab, T, 0, 0, &sequences));
  EXPECT(sequences.count == SEQUENCES);
  golden_mixed_bits(model, 0, 8, 3);
  const sb_pass_setup setup = {.model = model,
                               .backend = backend,
                               .tokens = sequences.tokens,
                               .sequences = SEQUENCES,
                               .seqlen = T,
                               .gradients = true,
                               .activation_bytes = w->activation_bytes,
                               .keep_bytes = w->keep_bytes};
  EXPECT_OK(sb_pass_create(&setup, &pass));
  gradient_checksums sums = {.model = model, .backend = backend, .of = out->gradients};
  /* gradients after a loss use its forward part, but not when something else came between */
  EXPECT_OK(sb_pass_loss(pass, &out->loss_alone));
  logits(pass, model, out);
  gradient_checksums_measure(&sums, pass, SEQUENCES, &out->loss);
  EXPECT_OK(sb_pass_loss(pass, &out->loss_alone));
  gradient_checksums_measure(&sums, pass, SEQUENCES, &out->loss);
  sb_pass_free(&pass);
  sb_sequences_free(&sequences);
  sb_model_free(&model);
  backend->op->destroy(backend);
}

static void compare(const char *name, const outcome *expected, const way *w, const char *how) {
  outcome got;
  run(name, w, &got);
  bool same = got.loss == expected->loss && got.loss_alone == expected->loss;
  for (size_t i = 0; i < sb_pass_local(w->world, SEQUENCES); i++) {
    const size_t s = sequence_of(w->world, i);
    same =
        same && got.logits[s] == expected->logits[s] && got.gradients[s] == expected->gradients[s];
    same = same && got.logits[s] != 0 && got.gradients[s] != 0;
  }
  if (!same) print_error("%s: other bits with %s\n", name, how);
  EXPECT(same);
}

static void check(sb_compute compute) {
  const sb_world *alone = world_alone();
  const size_t plenty = (size_t)1 << 30;
  for (size_t i = 0; i < GOLDENS; i++) {
    const char *name = golden_names[i];
    outcome expected;
    run(name, &(way){alone, 1, plenty, compute, 0}, &expected);
    EXPECT(expected.loss == expected.loss_alone && expected.logits[0] != expected.logits[1]);
    EXPECT(expected.gradients[0] != expected.gradients[1]);
    compare(name, &expected, &(way){&world, 1, plenty, compute, 0}, "these ranks");
    compare(name, &expected, &(way){&world, 2, plenty, compute, plenty},
            "these ranks, 2 threads, all kept");
    compare(name, &expected, &(way){&world, 1, 1, compute, 120000},
            "these ranks, one sequence a wave, something kept");
    compare(name, &expected, &(way){alone, 3, 50000, compute, 0},
            "3 threads, few sequences a wave");
  }
}

static void in_f32(void **state) {
  (void)state;
  check(SB_COMPUTE_F32);
  all_ranks_passed();
}

static void in_bf16(void **state) {
  (void)state;
  sb_backend *backend = NULL;
  if (sb_backend_cpu_create(SB_COMPUTE_BF16, 1, &backend) == SB_OK) {
    backend->op->destroy(backend);
    check(SB_COMPUTE_BF16);
  } else {
    print_message("skipped: %s\n", sb_message());
  }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(in_f32), cmocka_unit_test(in_bf16)};
RANKS_MAIN(tests)
