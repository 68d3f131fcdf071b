/* Random weights: statistics within what the header says, ranges that fit together, layers that do
 * not know of others. */
#include "folders/random_weights.h"

#include <math.h>

#include "base/memory.h"
#include "tests/support/config_json.h"

static sb_arch arch;
static size_t hidden;

static int make_arch(void **state) {
  (void)state;
  llama31_arch("{\"num_hidden_layers\":2}", &arch);
  hidden = arch.config.hidden;
  return 0;
}

static int free_arch(void **state) {
  (void)state;
  sb_arch_free(&arch);
  return 0;
}

/* The first `count` weights of a tensor. */
static float *weights(const sb_arch *a, sb_role role, size_t layer, uint64_t seed, size_t count) {
  sb_random_tensor t;
  float *out = NULL;
  assert_ok(sb_alloc_raw(&out, count, sizeof *out, "weights"));
  assert_ok(sb_random_tensor_create(a, sb_arch_index(a, role, layer), seed, &t));
  sb_random_tensor_fill(&t, 0, count, out);
  sb_random_tensor_free(&t);
  return out;
}

static double deviation(const float *x, size_t count, double *mean, double *kurtosis,
                        double *largest) {
  double sum = 0, square = 0, fourth = 0;
  *largest = 0;
  for (size_t k = 0; k < count; k++) sum += (double)x[k];
  *mean = sum / (double)count;
  for (size_t k = 0; k < count; k++) {
    const double d = (double)x[k] - *mean;
    square += d * d;
    fourth += d * d * d * d;
    *largest = fmax(*largest, fabs(d));
  }
  square /= (double)count;
  *kurtosis = fourth / (double)count / (square * square);
  return sqrt(square);
}

/* Of 2^20 numbers the mean is within 5 / 1024 deviations of 0; factors of rows and columns add 2%
 * to sigma, up to 15% come by layer, and their kurtosis multiplies the bell's 5 by 1.2. */
static void statistics_of_a_matrix(void **state) {
  (void)state;
  enum { COUNT = 1 << 20 };
  float *w = weights(&arch, SB_ROLE_GATE, 1, 7, COUNT);
  double mean, kurtosis, largest, sigma = deviation(w, COUNT, &mean, &kurtosis, &largest);
  assert_true(fabs(mean) < 5.0 / 1024 * sigma);
  assert_true(sigma > 0.9 * 0.85 / sqrt(4096) && sigma < 0.9 * 1.2 / sqrt(4096));
  assert_true(kurtosis > 4.5 && kurtosis < 7);
  assert_true(largest > 8 * sigma && largest < 20 * sigma);
  sb_free(&w);
}

static void norms_are_near_one(void **state) {
  (void)state;
  float *w = weights(&arch, SB_ROLE_INPUT_NORM, 0, 7, hidden);
  double mean, kurtosis, largest, sigma = deviation(w, hidden, &mean, &kurtosis, &largest);
  assert_true(fabs(mean - 1) < 0.02 && sigma > 0.07 && sigma < 0.15);
  sb_free(&w);
}

/* Rows of o: some are several times as large as all others, and they are the same in another layer,
 * in down, and among the columns of the embedding. */
static size_t outliers_of(const float *size, uint8_t *is, float usual) {
  size_t count = 0;
  for (size_t c = 0; c < hidden; c++) count += is[c] = size[c] > 2.5f * usual;
  return count;
}

static void rows_of(sb_role role, size_t layer, float *size) {
  sb_random_tensor t;
  enum { PART = 512 };
  float part[PART];
  assert_ok(sb_random_tensor_create(&arch, sb_arch_index(&arch, role, layer), 7, &t));
  for (size_t r = 0; r < hidden; r++) {
    double sum = 0;
    sb_random_tensor_fill(&t, r * t.cols, PART, part);
    for (size_t k = 0; k < PART; k++) sum += (double)(part[k] * part[k]);
    size[r] = (float)sqrt(sum / PART * (double)t.cols);
  }
  sb_random_tensor_free(&t);
}

static void outliers_are_the_same_everywhere(void **state) {
  (void)state;
  enum { TOKENS = 256 };
  float *size = NULL;
  uint8_t *is[4] = {NULL};
  assert_ok(sb_alloc(&size, hidden, sizeof *size, "sizes"));
  for (int i = 0; i < 4; i++) assert_ok(sb_alloc(&is[i], hidden, 1, "outliers"));
  rows_of(SB_ROLE_O, 0, size);
  const size_t count = outliers_of(size, is[0], 0.6f);
  assert_true(count >= 6 && count <= hidden / 512); /* two may fall on the same channel */
  rows_of(SB_ROLE_O, 1, size);
  outliers_of(size, is[1], 0.6f);
  rows_of(SB_ROLE_DOWN, 0, size);
  outliers_of(size, is[2], 0.8f);
  float *table = weights(&arch, SB_ROLE_EMBED, 0, 7, TOKENS * hidden);
  for (size_t c = 0; c < hidden; c++) {
    double sum = 0;
    for (size_t t = 0; t < TOKENS; t++)
      sum += (double)(table[t * hidden + c] * table[t * hidden + c]);
    size[c] = (float)sqrt(sum / TOKENS * (double)hidden);
  }
  outliers_of(size, is[3], 1.0f);
  for (int i = 1; i < 4; i++) assert_memory_equal(is[0], is[i], hidden);
  for (int i = 0; i < 4; i++) sb_free(&is[i]);
  sb_free(&size);
  sb_free(&table);
}

static void ranges_fit_together(void **state) {
  (void)state;
  enum { COUNT = 10000, CUT = 4321 };
  sb_random_tensor t;
  float *whole = weights(&arch, SB_ROLE_Q, 1, 3, COUNT), *parts = NULL;
  assert_ok(sb_alloc(&parts, COUNT, sizeof *parts, "weights"));
  assert_ok(sb_random_tensor_create(&arch, sb_arch_index(&arch, SB_ROLE_Q, 1), 3, &t));
  sb_random_tensor_fill(&t, CUT, COUNT - CUT, parts + CUT);
  sb_random_tensor_fill(&t, 0, CUT, parts);
  assert_memory_equal(whole, parts, COUNT * sizeof *whole);
  sb_random_tensor_free(&t);
  sb_free(&parts);
  sb_free(&whole);
}

static void seeds_layers_and_roles_differ(void **state) {
  (void)state;
  enum { COUNT = 1000 };
  float *a = weights(&arch, SB_ROLE_Q, 0, 3, COUNT), *b = weights(&arch, SB_ROLE_Q, 0, 4, COUNT),
        *c = weights(&arch, SB_ROLE_Q, 1, 3, COUNT), *d = weights(&arch, SB_ROLE_K, 0, 3, COUNT);
  size_t equal = 0;
  for (size_t k = 0; k < COUNT; k++) equal += (a[k] == b[k]) + (a[k] == c[k]) + (a[k] == d[k]);
  assert_true(equal < 5);
  sb_free(&a);
  sb_free(&b);
  sb_free(&c);
  sb_free(&d);
}

static void tokens(void **state) {
  (void)state;
  enum { COUNT = 4096, VOCAB = 2000 };
  uint32_t *all = NULL, some[100];
  size_t low = 0;
  assert_ok(sb_alloc(&all, COUNT, sizeof *all, "tokens"));
  sb_random_tokens(5, VOCAB, 0, COUNT, all);
  sb_random_tokens(5, VOCAB, 1234, 100, some);
  assert_memory_equal(all + 1234, some, sizeof some);
  for (size_t k = 0; k < COUNT; k++) {
    assert_true(all[k] < VOCAB);
    low += all[k] < 64;
  }
  assert_true(low > COUNT / 2 &&
              low < COUNT * 3 / 4); /* six of eleven octaves, and part of the others */
  sb_random_tokens(5, 2, 0, 100, some);
  for (int k = 0; k < 100; k++) assert_true(some[k] < 2);
  sb_free(&all);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(statistics_of_a_matrix),           cmocka_unit_test(norms_are_near_one),
      cmocka_unit_test(outliers_are_the_same_everywhere), cmocka_unit_test(ranges_fit_together),
      cmocka_unit_test(seeds_layers_and_roles_differ),    cmocka_unit_test(tokens)};
  return cmocka_run_group_tests(tests, make_arch, free_arch);
}
