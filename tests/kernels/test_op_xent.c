#include "tests/kernels/check.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "tests/kernels/naive.h"

enum { T = 41, VOCAB = 331 };

typedef struct row_state {
  float high[T], sum[T], target[T];
  uint32_t best[T];
} row_state;

static void targets_of(uint32_t *targets) {
  for (uint32_t t = 0; t < T; t++) targets[t] = t % 7 == 3 ? SB_NO_TARGET : (t * 131u + 5u) % VOCAB;
}

/* The chunk of columns [v0, v0 + nv) as a matrix of its own. */
static float *columns(const float *x, size_t v0, size_t nv) {
  float *out = check_zeros(T * nv);
  for (size_t t = 0; t < T; t++) memcpy(out + t * nv, x + t * VOCAB + v0, nv * sizeof *out);
  return out;
}

static void in_chunks(sb_backend *be, row_state *s, const float *logits, const uint32_t *targets,
                      size_t chunk) {
  assert_ok(be->op->xent_begin(be, NULL, s->high, s->sum, s->target, s->best, T));
  for (size_t v0 = 0; v0 < VOCAB; v0 += chunk) {
    size_t nv = VOCAB - v0 < chunk ? VOCAB - v0 : chunk;
    assert_ok(be->op->xent_chunk(be, NULL, s->high, s->sum, s->target, s->best,
                                 columns(logits, v0, nv), targets, T, v0, nv));
  }
}

static void begin_resets_rows(void **state) {
  sb_backend *be = *state;
  row_state s;
  memset(&s, 0x7f, sizeof s);
  /* all rows but the last, and without argmax: both are left alone */
  assert_ok(be->op->xent_begin(be, NULL, s.high, s.sum, s.target, NULL, T - 1));
  const row_state old = s;
  for (size_t t = 0; t < T - 1; t++) {
    assert_true(s.high[t] == -INFINITY && s.sum[t] == 0.0f && s.target[t] == 0.0f);
    assert_int_equal(s.best[t], 0x7f7f7f7f);
  }
  assert_true(s.sum[T - 1] > 1e38f);
  assert_ok(be->op->xent_begin(be, NULL, s.high, s.sum, s.target, s.best, T));
  for (size_t t = 0; t < T; t++) assert_int_equal(s.best[t], 0);
  assert_true(s.high[T - 1] == -INFINITY && old.high[T - 1] > 1e38f);
  assert_ok(be->op->xent_begin(be, NULL, NULL, NULL, NULL, NULL, 0));
}

/* Exact in what it is given, row_max and row_sum: the only rounding is that of lse to f32. */
static void end_gives_lse_and_likelihood(void **state) {
  sb_backend *be = *state;
  float *logits = check_random(T * VOCAB, 12.0f, 3), lse[T], mean[1] = {0};
  double nll[T], sum = 0;
  uint32_t targets[T];
  row_state s;
  size_t counted = 0;
  targets_of(targets);
  in_chunks(be, &s, logits, targets, 100);
  assert_ok(be->op->xent_end(be, NULL, lse, nll, s.high, s.sum, s.target, targets, T));
  for (size_t t = 0; t < T; t++) {
    const double exact = (double)s.high[t] + log((double)s.sum[t]);
    assert_true(fabs((double)lse[t] - exact) <= 6e-8 * fabs(exact));
    if (targets[t] == SB_NO_TARGET) {
      assert_true(nll[t] == 0.0);
      continue;
    }
    assert_true(fabs(nll[t] - (exact - (double)s.target[t])) < 1e-14);
    sum += nll[t];
    counted++;
  }
  mean[0] = (float)(sum / (double)counted);
  const double want = naive_xent(NULL, check_double(logits, T * VOCAB), targets, T, VOCAB);
  check_close("mean of the likelihoods", mean, &want, 1, 1e-6, 1.0);
  s.sum[1] = NAN; /* is not swallowed */
  assert_ok(be->op->xent_end(be, NULL, lse, nll, s.high, s.sum, s.target, targets, 2));
  assert_true(isnan(nll[1]) && isnan(lse[1]) && !isnan(nll[0]));
  assert_ok(be->op->xent_end(be, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0));
  check_done();
}

/* lse = high + log(sum): the sum of 331 exponentials of 2 ulp each is right to about 1e-6. */
static void lse_target_and_argmax_for_any_chunk(void **state) {
  sb_backend *be = *state;
  const size_t chunks[] = {VOCAB, 1, 5, 16, 64, 100, 200};
  float *logits = check_random(T * VOCAB, 12.0f, 1);
  uint32_t targets[T];
  double lse[T];
  targets_of(targets);
  logits[3 * VOCAB + 17] = logits[3 * VOCAB + 300] = 50.0f; /* a tie: the first one counts */
  naive_lse(lse, check_double(logits, T * VOCAB), T, VOCAB);
  for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
    row_state s;
    in_chunks(be, &s, logits, targets, chunks[c]);
    for (size_t t = 0; t < T; t++) {
      const float *row = logits + t * VOCAB;
      float got = s.high[t] + logf(s.sum[t]);
      size_t best = 0;
      for (size_t j = 1; j < VOCAB; j++)
        if (row[j] > row[best]) best = j;
      check_close("lse", &got, &lse[t], 1, 2e-6, 1.0);
      assert_int_equal(s.best[t], best);
      assert_true(s.high[t] == row[best]);
      assert_true(s.target[t] == (targets[t] == SB_NO_TARGET ? 0.0f : row[targets[t]]));
    }
  }
  check_done();
}

static double loss_of(void *context) {
  double *logits = context;
  uint32_t targets[T];
  targets_of(targets);
  return naive_xent(NULL, logits, targets, T, VOCAB);
}

static void gradient_against_naive_and_differences(void **state) {
  sb_backend *be = *state;
  float *logits = check_random(T * VOCAB, 4.0f, 1), lse[T];
  double *exact = check_double(logits, T * VOCAB), *want = check_double_zeros(T * VOCAB), lse2[T];
  uint32_t targets[T];
  size_t counted = 0;
  targets_of(targets);
  for (size_t t = 0; t < T; t++) counted += targets[t] != SB_NO_TARGET;
  float scale = 1.0f / (float)counted;
  naive_xent(want, exact, targets, T, VOCAB);
  naive_lse(lse2, exact, T, VOCAB);
  for (size_t t = 0; t < T; t++) lse[t] = (float)lse2[t];
  for (size_t v0 = 0; v0 < VOCAB; v0 += 90) {
    size_t nv = VOCAB - v0 < 90 ? VOCAB - v0 : 90;
    float *chunk = columns(logits, v0, nv);
    assert_ok(be->op->xent_back_chunk(be, NULL, chunk, lse, targets, scale, T, v0, nv));
    for (size_t t = 0; t < T; t++) {
      /* lse rounded to f32 alone moves a probability by 6e-8 * |lse| */
      check_close("dlogits", chunk + t * nv, want + t * VOCAB + v0, nv, 2e-6, (double)scale);
      for (size_t j = t % 29; j < nv; j += 29) {
        double slope = check_slope(loss_of, exact, exact, t * VOCAB + v0 + j);
        check_close("dlogits against a difference", chunk + t * nv + j, &slope, 1, 2e-6,
                    (double)scale);
      }
      if (targets[t] == SB_NO_TARGET)
        for (size_t j = 0; j < nv; j++) assert_true(chunk[t * nv + j] == 0.0f);
    }
  }
  check_done();
}

static void minus_infinity_is_a_probability_of_zero(void **state) {
  sb_backend *be = *state;
  float high = -INFINITY, sum = 0.0f, target = 0.0f;
  uint32_t best = 0, want_target = 3;
  const float none[3] = {-INFINITY, -INFINITY, -INFINITY}, some[3] = {-INFINITY, 2.0f, -INFINITY};
  assert_ok(be->op->xent_chunk(be, NULL, &high, &sum, &target, &best, none, &want_target, 1, 0, 3));
  assert_true(high == -INFINITY && sum == 0.0f);
  assert_ok(be->op->xent_chunk(be, NULL, &high, &sum, &target, &best, some, &want_target, 1, 3, 3));
  assert_true(high == 2.0f && sum == 1.0f && best == 4 && target == -INFINITY);
  assert_ok(be->op->xent_chunk(be, NULL, &high, &sum, &target, NULL, none, &want_target, 1, 6, 3));
  assert_true(high == 2.0f && sum == 1.0f);
  float back[3] = {-INFINITY, 2.0f, -INFINITY}, lse = 2.0f;
  assert_ok(be->op->xent_back_chunk(be, NULL, back, &lse, &want_target, 1.0f, 1, 3, 3));
  assert_true(back[0] == -1.0f && back[1] == 1.0f && back[2] == 0.0f);
  const float bad[2] = {NAN, 1.0f};
  assert_ok(be->op->xent_chunk(be, NULL, &high, &sum, &target, NULL, bad, &want_target, 1, 9, 2));
  assert_true(isnan(sum)); /* a NaN is not swallowed */
}

/* Terms p (log p_ref - log p) of order 1e-2 and both signs add up to a divergence of the same
 * order: f32 terms are right to 1e-6 of the largest logarithm. */
static void kl_equals_the_formula(void **state) {
  sb_backend *be = *state;
  float *ref = check_random(T * VOCAB, 6.0f, 1), *other = check_random(T * VOCAB, 6.0f, 2),
        lse[2][T];
  ref[5] = -INFINITY; /* a probability of zero adds nothing */
  ref[VOCAB + 1] = other[VOCAB + 1] = -INFINITY;
  double *ref2 = check_double(ref, T * VOCAB), *other2 = check_double(other, T * VOCAB), want[T],
         exact[2][T];
  naive_lse(exact[0], ref2, T, VOCAB);
  naive_lse(exact[1], other2, T, VOCAB);
  for (size_t t = 0; t < T; t++) lse[0][t] = (float)exact[0][t], lse[1][t] = (float)exact[1][t];
  naive_kl(want, ref2, other2, T, VOCAB);
  const size_t chunks[] = {VOCAB, 1, 17, 128};
  for (size_t c = 0; c < 4; c++) {
    double kl[T] = {0};
    for (size_t v0 = 0; v0 < VOCAB; v0 += chunks[c]) {
      size_t nv = VOCAB - v0 < chunks[c] ? VOCAB - v0 : chunks[c];
      assert_ok(be->op->kl_chunk(be, NULL, kl, columns(ref, v0, nv), lse[0], columns(other, v0, nv),
                                 lse[1], T, nv));
    }
    for (size_t t = 0; t < T; t++) assert_true(fabs(kl[t] - want[t]) < 1e-5);
  }
  double same[T] = {0};
  assert_ok(be->op->kl_chunk(be, NULL, same, ref, lse[0], ref, lse[0], T, VOCAB));
  for (size_t t = 0; t < T; t++) assert_true(same[t] == 0.0);
  double infinite = 0.0;
  const float likely = 0.0f, never = -INFINITY, zero = 0.0f;
  assert_ok(be->op->kl_chunk(be, NULL, &infinite, &likely, &zero, &never, &zero, 1, 1));
  assert_true(infinite == (double)INFINITY);
  check_done();
}

/* kl_chunk with ref_lse twice, then kl_end: the divergence of rows with a target. */
static void kl_ends_once_lse_is_known(void **state) {
  sb_backend *be = *state;
  float *ref = check_random(T * VOCAB, 6.0f, 1), *other = check_random(T * VOCAB, 6.0f, 2),
        lse[2][T];
  double *ref2 = check_double(ref, T * VOCAB), *other2 = check_double(other, T * VOCAB), want[T],
         exact[2][T], kl[T] = {0};
  uint32_t targets[T];
  targets_of(targets);
  naive_lse(exact[0], ref2, T, VOCAB);
  naive_lse(exact[1], other2, T, VOCAB);
  for (size_t t = 0; t < T; t++) lse[0][t] = (float)exact[0][t], lse[1][t] = (float)exact[1][t];
  naive_kl(want, ref2, other2, T, VOCAB);
  assert_ok(be->op->kl_chunk(be, NULL, kl, ref, lse[0], other, lse[0], T, VOCAB));
  assert_ok(be->op->kl_end(be, NULL, kl, lse[1], lse[0], targets, T));
  for (size_t t = 0; t < T; t++)
    assert_true(targets[t] == SB_NO_TARGET ? kl[t] == 0.0 : fabs(kl[t] - want[t]) < 1e-5);
  assert_ok(be->op->kl_end(be, NULL, NULL, NULL, NULL, NULL, 0));
  check_done();
}

typedef struct kl_point {
  double *ref, *logits;
} kl_point;

/* Sum over rows with a target. */
static double kl_of(void *context) {
  const kl_point *at = context;
  uint32_t targets[T];
  double kl[T], sum = 0;
  targets_of(targets);
  naive_kl(kl, at->ref, at->logits, T, VOCAB);
  for (size_t t = 0; t < T; t++)
    if (targets[t] != SB_NO_TARGET) sum += kl[t];
  return sum;
}

static void gradient_of_kl_against_differences(void **state) {
  sb_backend *be = *state;
  const float scale = 0.25f;
  float *ref = check_random(T * VOCAB, 4.0f, 1), *logits = check_random(T * VOCAB, 4.0f, 2),
        lse[2][T];
  kl_point at = {check_double(ref, T * VOCAB), check_double(logits, T * VOCAB)};
  double exact[2][T];
  uint32_t targets[T];
  targets_of(targets);
  naive_lse(exact[0], at.ref, T, VOCAB);
  naive_lse(exact[1], at.logits, T, VOCAB);
  for (size_t t = 0; t < T; t++) lse[0][t] = (float)exact[0][t], lse[1][t] = (float)exact[1][t];
  for (size_t v0 = 0; v0 < VOCAB; v0 += 90) {
    const size_t nv = VOCAB - v0 < 90 ? VOCAB - v0 : 90;
    float *chunk = columns(logits, v0, nv);
    assert_ok(be->op->kl_back_chunk(be, NULL, chunk, lse[1], columns(ref, v0, nv), lse[0], targets,
                                    scale, T, nv));
    for (size_t t = 0; t < T; t++)
      for (size_t j = 0; j < nv; j++) {
        const size_t i = t * VOCAB + v0 + j;
        const double p = exp(at.logits[i] - exact[1][t]), p_ref = exp(at.ref[i] - exact[0][t]);
        const double want = targets[t] == SB_NO_TARGET ? 0.0 : (double)scale * (p - p_ref);
        /* lse rounded to f32 alone moves a probability by 6e-8 * |lse| */
        check_close("dlogits", chunk + t * nv + j, &want, 1, 2e-6, (double)scale);
        if (j % 29 != t % 29) continue;
        const double slope = (double)scale * check_slope(kl_of, &at, at.logits, i);
        check_close("dlogits against a difference", chunk + t * nv + j, &slope, 1, 2e-6,
                    (double)scale);
      }
  }
  check_done();
}

static void threads_do_not_change_bits(void **state) {
  sb_backend *be = *state;
  float *logits = check_random(T * VOCAB, 5.0f, 1), *other = check_random(T * VOCAB, 5.0f, 2),
        *grad[4], *kl_grad[4];
  uint32_t targets[T];
  row_state s[4];
  double kl[4][T];
  int threads = omp_get_max_threads();
  targets_of(targets);
  memset(kl, 0, sizeof kl);
  for (int t = 1; t <= 3; t++) {
    omp_set_num_threads(t);
    in_chunks(be, &s[t], logits, targets, VOCAB);
    grad[t] = columns(logits, 0, VOCAB);
    assert_ok(be->op->xent_back_chunk(be, NULL, grad[t], s[t].high, targets, 0.5f, T, 0, VOCAB));
    assert_ok(be->op->kl_chunk(be, NULL, kl[t], logits, s[t].high, other, s[t].high, T, VOCAB));
    check_same("sum", s[t].sum, s[1].sum, T);
    check_same("gradient", grad[t], grad[1], T * VOCAB);
    kl_grad[t] = columns(logits, 0, VOCAB);
    assert_ok(be->op->kl_back_chunk(be, NULL, kl_grad[t], s[t].high, other, s[t].high, targets,
                                    0.5f, T, VOCAB));
    check_same("gradient of the divergence", kl_grad[t], kl_grad[1], T * VOCAB);
    assert_memory_equal(kl[t], kl[1], sizeof kl[1]);
  }
  omp_set_num_threads(threads);
  check_done();
}

static int setup(void **state) {
  *state = check_backend(SB_COMPUTE_F32);
  return 0;
}

static int teardown(void **state) {
  sb_backend *be = *state;
  be->op->destroy(be);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(begin_resets_rows),
      cmocka_unit_test(lse_target_and_argmax_for_any_chunk),
      cmocka_unit_test(end_gives_lse_and_likelihood),
      cmocka_unit_test(gradient_against_naive_and_differences),
      cmocka_unit_test(minus_infinity_is_a_probability_of_zero),
      cmocka_unit_test(kl_equals_the_formula),
      cmocka_unit_test(kl_ends_once_lse_is_known),
      cmocka_unit_test(gradient_of_kl_against_differences),
      cmocka_unit_test(threads_do_not_change_bits),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
