/* KL divergence and top-1 agreement of two models against plain loops over
 * their logits, in double. */
#include "tests/support/wide.h"

#include <math.h>

typedef struct pair {
  golden model, ref;
} pair;

typedef struct plain {
  double kl, loss, ref_loss, agree, rows;
} plain;

static size_t largest(const float *x, size_t n) {
  size_t best = 0;
  for (size_t i = 1; i < n; i++)
    if (x[i] > x[best]) best = i;
  return best;
}

static double log_sum_exp(const float *x, size_t n) {
  double high = x[largest(x, n)], sum = 0;
  for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - high);
  return high + log(sum);
}

static void add_row(plain *p, const float *ours, const float *theirs, size_t n, uint32_t target) {
  const double lse = log_sum_exp(ours, n), ref_lse = log_sum_exp(theirs, n);
  for (size_t v = 0; v < n; v++) {
    const double log_p = (double)theirs[v] - ref_lse;
    p->kl += exp(log_p) * (log_p - ((double)ours[v] - lse));
  }
  p->loss += lse - (double)ours[target];
  p->ref_loss += ref_lse - (double)theirs[target];
  p->agree += largest(ours, n) == largest(theirs, n);
  p->rows++;
}

/* Means over all ranks' sequences; the last token of each has no target. */
static plain plainly(pair *z, size_t T) {
  plain p = {0};
  const size_t vocab = z->model.model->config.vocab, count = z->model.sequences.count;
  float *ours = calloc(T * vocab, sizeof *ours), *theirs = calloc(T * vocab, sizeof *theirs);
  for (size_t i = 0; i * (size_t)world.size < count; i++) {
    EXPECT_OK(sb_pass_logits(z->model.pass, i, ours));
    EXPECT_OK(sb_pass_logits(z->ref.pass, i, theirs));
    if (i >= z->model.sequences.local) continue;
    for (size_t t = 0; t + 1 < T; t++)
      add_row(&p, ours + t * vocab, theirs + t * vocab, vocab,
              z->model.sequences.tokens[i * T + t + 1]);
  }
  EXPECT(MPI_Allreduce(MPI_IN_PLACE, &p, 5, MPI_DOUBLE, MPI_SUM, world.comm) == MPI_SUCCESS);
  free(ours);
  free(theirs);
  return p;
}

/* Float32 soft-max statistics and one float product a logit on our side: measured differences are
 * below 5e-8 nats. */
static const double tolerance = 1e-6;

static void compare(const golden_setup *model, const golden_setup *ref, unsigned bits,
                    double least_kl) {
  pair z;
  sb_comparison got = {0};
  golden_open(&z.model, model);
  golden_open(&z.ref, ref);
  if (bits != 0) golden_mixed_bits(z.model.model, bits, bits + 2, 9);
  EXPECT_OK(sb_pass_compare(z.model.pass, z.ref.pass, &got));
  const plain p = plainly(&z, 48);
  if (world.rank == 0)
    print_message("KL %.7f, plainly %.7f; top-1 %.4f; losses %.7f %.7f\n", got.mean_kl,
                  p.kl / p.rows, got.top1_agreement, got.loss, got.ref_loss);
  EXPECT(p.rows == 47 * 2 && got.targets == 47 * 2);
  EXPECT(fabs(got.mean_kl - p.kl / p.rows) < tolerance && got.mean_kl >= least_kl);
  EXPECT(got.top1_agreement == p.agree / p.rows);
  EXPECT(fabs(got.loss - p.loss / p.rows) < tolerance);
  EXPECT(fabs(got.ref_loss - p.ref_loss / p.rows) < tolerance);
  if (least_kl < 0) EXPECT(fabs(got.mean_kl) < 1e-12 && got.top1_agreement == 1.0);
  if (least_kl > 0) EXPECT(got.top1_agreement < 1.0);
  golden_close(&z.model);
  golden_close(&z.ref);
}

static void against_plain_loops(void **state) {
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++) {
    golden_setup setup = {.name = golden_names[i], GOLDEN_DEFAULTS}, waves = setup;
    compare(&setup, &setup, 0, -1e-12);
    waves.activation_bytes = 1;
    compare(&waves, &waves, 2, 0.01);
    compare(&setup, &setup, 4, 0.001);
  }
  all_ranks_passed();
}

/* Chunks of the vocabulary hold whole units, so they end elsewhere in a model of other blocks. */
static void heads_cut_differently(void **state) {
  (void)state;
  scratch_begin();
  const char *folder = wide_make("mha-untied");
  golden_setup setup = {.name = folder, GOLDEN_DEFAULTS}, other = setup;
  compare(&setup, &setup, 3, 0.01);
  other.blocking.rows = 100;
  compare(&setup, &other, 3, 0.01);
  compare(&other, &setup, 3, 0.01);
  setup.activation_bytes = 1; /* and waves of other sizes */
  compare(&other, &setup, 3, 0.01);
  compare(&setup, &other, 3, 0.01);
  scratch_end();
  all_ranks_passed();
}

/* Chunks of a packed head, cut where those of the source end. */
static void packed_heads_cut_differently(void **state) {
  (void)state;
  scratch_begin();
  static const char *const names[] = {"mha-untied", "gqa-tied"};
  for (size_t i = 0; i < 2; i++) {
    golden g;
    sb_output_stats stats;
    const char *folder = wide_make(names[i]), *coded = scratch_path("coded");
    golden_setup source = {.name = folder, GOLDEN_DEFAULTS};
    golden_open(&g, &source);
    golden_mixed_bits(g.model, 3, 5, 9);
    golden_mixed_tables(g.model, 3, 5, 9);
    golden_write(&g, coded, &stats);
    golden_close(&g);
    const golden_setup packed = {
        .name = folder, .output = coded, .keep_packed = true, GOLDEN_DEFAULTS};
    compare(&packed, &source, 0, 0.01);
    source.blocking.rows = 100;
    compare(&packed, &source, 0, 0.01);
    compare(&source, &packed, 0, 0.01);
  }
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(against_plain_loops),
                                          cmocka_unit_test(heads_cut_differently),
                                          cmocka_unit_test(packed_heads_cut_differently)};
RANKS_MAIN(tests)
