/* Second moments and their factors against plain sums in double on one rank, in each of the ways to
 * hold them. */
#include "folders/hf_load.h"
#include "tests/support/ranks.h"

#include <math.h>

#ifdef SB_TEST_ON_CUDA
#include "kernels/cuda/cuda_device.h"
#include "tests/cuda_host/cuda_host.h"
#endif
#include "quant/gptq_pivots.h"
#include "quant/moments.h"

enum { INPUTS = 4 /* of a layer of the model */ };
enum { T = 100, SEQUENCES = 5 };
#ifdef SB_TEST_ON_CUDA
enum { CHOICES = 1 }; /* a stand-in is slow */
static const double other_way =
    1e-4; /* a library's products may depend on how many rows it is asked for */
#else
enum { CHOICES = 2 };
static const double other_way = 1e-6;
#endif

static sb_backend *backend;

/* Inputs as they are in models: channels that go together and differ in size,
 * sequences that differ too. */
static void fill_input(float *x, size_t n, size_t sequence, size_t input) {
  uint64_t seed = 1000 * sequence + 100 * input + 1;
  for (size_t t = 0; t < T; t++)
    for (size_t i = 0; i < n; i++) {
      const float u = (float)((double)mix(seed++) * 0x1p-63 - 1.0);
      x[t * n + i] = u * (i % 37 == 3 ? 12.0f : 1.0f) + (i ? 0.6f * x[t * n + i - 1] : 0.0f);
      if (i == 11) x[t * n + i] = 0; /* a dead channel */
    }
}

static sb_model *load(size_t block_cols) {
  sb_model *model = NULL;
  const sb_blocking blocking = {64, block_cols, SB_GRID_ASYMMETRIC};
  EXPECT_OK(sb_hf_load(&world, SB_SOURCE_DIR "/data/demo-llama", blocking, false, &model));
  return model;
}

static sb_moments *create(const sb_model *model, sb_factor_mode mode, size_t keep) {
  size_t bytes = 0;
  for (size_t i = 0; i < INPUTS; i++)
    bytes += keep * T * sb_arch_input_of(&model->arch, 0, i)->width * sizeof(float);
  const size_t ranks = (size_t)world.size, rank = (size_t)world.rank;
  const sb_moments_setup setup = {.model = model,
                                  .backend = backend,
                                  .seqlen = T,
                                  .local = SEQUENCES / ranks + (rank < SEQUENCES % ranks),
                                  .most_local = (SEQUENCES + ranks - 1) / ranks,
                                  .input_bytes = bytes,
                                  .host_piece = 10007,
                                  .damping = 0.01,
                                  .keep = true,
                                  .mode = mode};
  sb_moments *m = NULL;
  EXPECT_OK(sb_moments_create(&setup, &m));
  return m;
}

/* Shows all sequences; `spoil` puts that value into sequence 3. */
static sb_status show(sb_moments *m, float spoil) {
  const size_t ranks = (size_t)world.size, rounds = (SEQUENCES + ranks - 1) / ranks;
  const size_t most = T * sb_moments_width(m, 3) * sizeof(float);
  float *x = malloc(most), *there = NULL;
  sb_status status = SB_OK;
  EXPECT_OK(backend->op->alloc(backend, most, "inputs", (void **)&there));
  EXPECT_OK(sb_moments_begin(m, NULL, 2));
  for (size_t s = 0; s < rounds && status == SB_OK; s++) {
    const size_t sequence = s * ranks + (size_t)world.rank;
    for (size_t i = 0; i < INPUTS && sequence < SEQUENCES; i++) {
      fill_input(x, sb_moments_width(m, i), sequence, i);
      if (spoil != 0 && sequence == 3) x[5] = spoil;
      EXPECT_OK(
          backend->op->upload(backend, NULL, there, x, T * sb_moments_width(m, i) * sizeof *x));
      EXPECT_OK(sb_moments_take(m, NULL, i, there));
      EXPECT_OK(backend->op->sync(backend, NULL));
    }
    status = sb_moments_end_sequence(m, NULL, s, SB_OK);
  }
  backend->op->free(backend, there);
  free(x);
  return status;
}

/* *host = `count` numbers of a panel, in room of the caller's where they are on a
 * device of its own. */
static void fetch(const sb_moments *m, const float **host, float *room, size_t count) {
  if (!sb_moments_on_device(m) || backend->unified) return;
  EXPECT_OK(backend->op->download(backend, NULL, room, *host, count * sizeof **host));
  EXPECT_OK(backend->op->sync(backend, NULL));
  *host = room;
}

/* The factor of an input, [n, n], put together from its panels. */
static float *factor_of(sb_moments *m, size_t input, size_t block_cols) {
  const size_t n = sb_moments_width(m, input);
  float *out = calloc(n * n, sizeof *out), *room = malloc(n * n * sizeof *room);
  size_t end;
  for (size_t begin = 0; begin < n; begin = end) {
    const float *panel;
    size_t ld;
    EXPECT_OK(sb_moments_panel(m, input, begin, &end, &panel, &ld));
    EXPECT(end > begin && end <= n && (end == n || end % block_cols == 0));
    fetch(m, &panel, room, (end - begin - 1) * ld + n - begin);
    for (size_t i = begin; i < end; i++)
      memcpy(out + i * n + i, panel + (i - begin) * ld + i - begin, (n - i) * sizeof *out);
  }
  free(room);
  return out;
}

/* The same of the kept moments. */
static float *moments_of(sb_moments *m, size_t input) {
  const size_t n = sb_moments_width(m, input);
  float *out = calloc(n * n, sizeof *out), *room = malloc(n * n * sizeof *room);
  size_t end;
  for (size_t begin = 0; begin < n; begin = end) {
    const float *panel;
    EXPECT_OK(sb_moments_rows(m, input, begin, &end, &panel));
    EXPECT(end > begin && end <= n);
    fetch(m, &panel, room, (end - begin) * n);
    memcpy(out + begin * n, panel, (end - begin) * n * sizeof *out);
  }
  free(room);
  return out;
}

static double *naive_moments(size_t n, size_t input) {
  double *h = calloc(n * n, sizeof *h);
  float *x = malloc(T * n * sizeof *x);
  for (size_t s = 0; s < SEQUENCES; s++) {
    fill_input(x, n, s, input);
    for (size_t t = 0; t < T; t++)
      for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) h[i * n + j] += (double)x[t * n + i] * (double)x[t * n + j];
  }
  free(x);
  return h;
}

static float *naive(size_t n, size_t input) {
  double *h = naive_moments(n, input);
  float *factor = calloc(n * n, sizeof *factor);
  sb_factor_repair repair;
  EXPECT_OK(sb_factor_lapack(factor, h, n, 0.01, &repair));
  free(h);
  return factor;
}

/* What was factorised: dead inputs have the mean of the diagonal, all of it is damped. Products and
 * sums in f32: 1e-5 of the root of the two diagonal elements. */
static void check_kept(sb_moments *m, size_t input) {
  const size_t n = sb_moments_width(m, input);
  double *h = naive_moments(n, input), mean = 0;
  float *kept = moments_of(m, input);
  for (size_t i = 0; i < n; i++) mean += h[i * n + i] / (double)n;
  for (size_t i = 0; i < n; i++) {
    if (h[i * n + i] == 0) h[i * n + i] = mean;
    h[i * n + i] += 0.01 * mean;
  }
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++) {
      const double d =
          fabs((double)kept[i * n + j] - h[i * n + j]) / sqrt(h[i * n + i] * h[j * n + j]);
      EXPECT(d < 1e-5);
      if (!(d < 1e-5)) return;
    }
  free(h);
  free(kept);
}

/* The largest difference, against the diagonal element of its row. */
static double difference(const float *x, const float *y, size_t n) {
  double worst = 0;
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++) {
      const double d = fabs((double)x[i * n + j] - (double)y[i * n + j]) / (double)y[i * n + i];
      worst = d > worst || isnan(d) ? d : worst;
    }
  return worst;
}

/* What is left of an error where later channels make up for it: the variance of channel c that the
 * channels behind it leave open, by eliminating them one after another, as a share of its own. */
static void check_pivots(sb_moments *m, size_t input) {
  const size_t n = sb_moments_width(m, input);
  float *shares = malloc(n * sizeof *shares), *kept = moments_of(m, input), least = 1;
  double *h = malloc(n * n * sizeof *h);
  for (size_t i = 0; i < n * n; i++) h[i] = (double)kept[i];
  EXPECT_OK(sb_gptq_pivots(m, &world, backend, NULL, input, shares));
  for (size_t c = n; c-- > 0;) {
    const double left = h[c * n + c] / (double)kept[c * n + c];
    EXPECT(fabs((double)shares[c] - left) <= 1e-3 * left);
    least = shares[c] < least ? shares[c] : least;
    for (size_t i = 0; i < c; i++) {
      const double f = h[i * n + c] / h[c * n + c];
      for (size_t j = 0; j < c; j++) h[i * n + j] -= f * h[c * n + j];
    }
  }
  EXPECT(least < 0.9f && shares[n - 1] > 0.9999f);
  free(shares);
  free(kept);
  free(h);
}

/* Moments of a sequence are sums of 100 products in f32: 1e-6 of them, times what the factor makes
 * of it. Replicated and distributed sums are of the same numbers, so in double precision only the
 * factors' last bit may differ. */
static void test_ways(void **state) {
  (void)state;
  static const size_t columns[] = {96, 600}; /* narrower and wider than a panel of sums */
  for (size_t c = 0; c < CHOICES; c++) {
    sb_model *model = load(columns[c]);
    sb_moments *m = create(model, SB_FACTOR_AUTO, 1);
    EXPECT(sb_moments_mode(m) == SB_FACTOR_REPLICATED);
    float *replicated[INPUTS];
    sb_moments_repair repair = {0};
    EXPECT_OK(show(m, 0));
    EXPECT_OK(sb_moments_factorise(m, NULL, &repair));
    EXPECT(repair.dead == INPUTS && repair.repaired == 0);
    for (size_t i = 0; i < INPUTS; i++) {
      const size_t n = sb_moments_width(m, i);
      float *plain = naive(n, i);
      replicated[i] = factor_of(m, i, columns[c]);
      EXPECT(difference(replicated[i], plain, n) < 1e-4);
      check_kept(m, i);
      if (i == 0) check_pivots(m, i); /* the narrowest */
      free(plain);
    }
    sb_moments_free(&m);
    for (int single = 0; single < 2; single++) {
      float *first[INPUTS] = {0};
      for (size_t keep = 1; keep <= 5; keep += 2) {
        m = create(model, single ? SB_FACTOR_DISTRIBUTED_SINGLE : SB_FACTOR_DISTRIBUTED, keep);
        for (int layer = 0; layer < 2;
             layer++) { /* the second layer finds the first one's memory */
          repair = (sb_moments_repair){0};
          EXPECT_OK(show(m, 0));
          EXPECT_OK(sb_moments_factorise(m, NULL, &repair));
          EXPECT(repair.dead == INPUTS && repair.repaired == 0);
        }
        for (size_t i = 0; i < INPUTS; i++) {
          const size_t n = sb_moments_width(m, i);
          float *factor = factor_of(m, i, columns[c]);
          EXPECT(difference(factor, replicated[i], n) < (single ? 1e-3 : other_way));
          check_kept(m, i);
          if (keep == 3 && i == 0) check_pivots(m, i);
          if (first[i])
            EXPECT(memcmp(factor, first[i], n * n * sizeof *factor) ==
                   0); /* however many are kept */
          else
            first[i] = malloc(n * n * sizeof *factor);
          memcpy(first[i], factor, n * n * sizeof *factor);
          free(factor);
        }
        sb_moments_free(&m);
      }
      for (size_t i = 0; i < INPUTS; i++) free(first[i]);
    }
    for (size_t i = 0; i < INPUTS; i++) free(replicated[i]);
    sb_model_free(&model);
  }
  all_ranks_passed();
}

/* ---- given moments ---- */

enum { GIVEN = 150 }; /* channels: more than a block of the cyclic layout, and not whole ones */

static sb_moments *create_given(const sb_model *model, sb_factor_mode mode) {
  const sb_moments_setup setup = {.model = model,
                                  .width = GIVEN,
                                  .backend = backend,
                                  .host_piece = 10007,
                                  .damping = 0.01,
                                  .keep = true,
                                  .mode = mode};
  sb_moments *m = NULL;
  EXPECT_OK(sb_moments_create(&setup, &m));
  EXPECT(sb_moments_width(m, 0) == GIVEN);
  return m;
}

/* Moments of `scale` times the inputs above. Below the diagonal is nothing to be read. */
static double *given_moments(double scale) {
  double *h = naive_moments(GIVEN, 0);
  for (size_t i = 0; i < GIVEN; i++)
    for (size_t j = 0; j < GIVEN; j++) h[i * GIVEN + j] = j < i ? NAN : scale * h[i * GIVEN + j];
  return h;
}

/* Quanta are 2^-40 of the largest element; a factor in double precision, rounded to float: so its
 * last bits, times the condition of these moments. Distributed in single precision: as above. */
static void check_given(sb_moments *m, double scale) {
  double *h = naive_moments(GIVEN, 0), *given = given_moments(scale);
  float *plain = calloc(GIVEN * GIVEN, sizeof *plain);
  sb_factor_repair mended;
  sb_moments_repair repair = {0};
  for (size_t i = 0; i < GIVEN * GIVEN; i++) h[i] *= scale;
  EXPECT_OK(sb_moments_give(m, NULL, given, "a table"));
  EXPECT_OK(sb_moments_factorise(m, NULL, &repair));
  EXPECT(repair.dead == 1 && repair.repaired == 0);
  float *factor = factor_of(m, 0, 64), *kept = moments_of(m, 0);
  EXPECT_OK(sb_factor_lapack(plain, h, GIVEN, 0.01, &mended)); /* mends h */
  const bool single = sb_moments_mode(m) == SB_FACTOR_DISTRIBUTED_SINGLE;
  EXPECT(difference(factor, plain, GIVEN) < (single ? 1e-3 : 1e-6));
  for (size_t i = 0; i < GIVEN; i++)
    for (size_t j = 0; j < GIVEN; j++) {
      const double whole = h[i * GIVEN + j] + (i == j ? mended.damping * mended.mean : 0),
                   size = sqrt(h[i * GIVEN + i] * h[j * GIVEN + j]);
      EXPECT(fabs((double)kept[i * GIVEN + j] - whole) <= 1e-6 * size);
    }
  free(kept);
  free(factor);
  free(plain);
  free(given);
  free(h);
}

static void test_given(void **state) {
  (void)state;
  sb_model *model = load(64);
  double *bad = given_moments(1);
  bad[3 * GIVEN + 7] = NAN;
  for (sb_factor_mode mode = SB_FACTOR_REPLICATED; mode <= SB_FACTOR_DISTRIBUTED_SINGLE; mode++) {
    sb_moments *m = create_given(model, mode);
    check_given(m, 1);
    check_given(m, 0x1.8p-30); /* the next table, in the first one's memory */
    EXPECT(sb_moments_give(m, NULL, bad, "a table") == SB_ERR_NUMERIC);
    EXPECT(strstr(sb_message(), "a table: its second moments are not finite") != NULL);
    sb_moments_free(&m);
  }
  free(bad);
  sb_model_free(&model);
  all_ranks_passed();
}

/* What is not finite, and what went wrong on one rank, ends the pass on all of them. */
static void test_failures(void **state) {
  (void)state;
  sb_model *model = load(128);
  static const sb_factor_mode modes[] = {SB_FACTOR_REPLICATED, SB_FACTOR_DISTRIBUTED};
  for (size_t k = 0; k < 2; k++) {
    sb_moments *m = create(model, modes[k], 2);
    EXPECT(show(m, NAN) == SB_ERR_NUMERIC);
    EXPECT(strstr(sb_message(), "layer 2: the inputs of") != NULL);
    EXPECT(show(m, 1e30f) == SB_ERR_NUMERIC);
    EXPECT_OK(sb_moments_begin(m, NULL, 0));
    const sb_status mine =
        world.rank == world.size - 1 ? sb_fail(SB_ERR_DEVICE, "the accelerator is gone") : SB_OK;
    EXPECT(sb_moments_end_sequence(m, NULL, 0, mine) == SB_ERR_DEVICE);
    EXPECT(strstr(sb_message(), "the accelerator is gone") != NULL);
    EXPECT_OK(show(m, 0)); /* and it can be begun again */
    sb_moments_free(&m);
  }
  sb_model_free(&model);
  all_ranks_passed();
}

#ifdef SB_TEST_ON_CUDA
/* Summed where they are by an MPI library that takes device memory: the same bits
 * as through the hosts. */
static void test_sums_by_mpi(void **state) {
  (void)state;
  sb_model *model = load(96);
  float *by_host[INPUTS];
  for (int aware = 0; aware < 2; aware++) {
    sb_cuda_host_device.mpi = aware;
    backend->in_mpi = aware;
    sb_moments *m = create(model, SB_FACTOR_REPLICATED, 1);
    sb_moments_repair repair = {0};
    EXPECT_OK(show(m, 0));
    EXPECT_OK(sb_moments_factorise(m, NULL, &repair));
    EXPECT(sb_cuda_host_device.mpi_sums == (aware && world.size > 1 ? INPUTS : 0));
    for (size_t i = 0; i < INPUTS; i++) {
      const size_t n = sb_moments_width(m, i);
      float *factor = factor_of(m, i, 96);
      if (aware) {
        EXPECT(memcmp(factor, by_host[i], n * n * sizeof *factor) == 0);
        free(by_host[i]);
        free(factor);
      } else {
        by_host[i] = factor;
      }
    }
    sb_moments_free(&m);
  }
  sb_cuda_host_device.mpi = 0;
  sb_model_free(&model);
  all_ranks_passed();
}

/* Too little room for replicated factors on one rank: all go the other way, unless
 * it was asked for. */
static void test_full_device(void **state) {
  (void)state;
  sb_model *model = load(128);
  const size_t all = sb_cuda_host_device.memory;
  if (world.rank == world.size - 1)
    sb_cuda_host_device.memory = sb_cuda_host_device.in_use + ((size_t)12 << 20);
  sb_moments *m = create(model, SB_FACTOR_AUTO, 1);
  EXPECT(m && sb_moments_mode(m) == SB_FACTOR_DISTRIBUTED);
  sb_moments_free(&m);
  const sb_moments_setup setup = {.model = model,
                                  .backend = backend,
                                  .seqlen = T,
                                  .most_local = 1,
                                  .keep = true,
                                  .mode = SB_FACTOR_REPLICATED};
  EXPECT(sb_moments_create(&setup, &m) == SB_ERR_MEMORY && m == NULL);
  EXPECT(sb_cuda_host_device.in_use < (size_t)40 << 20); /* of cuBLAS */
  sb_cuda_host_device.memory = all;
  sb_model_free(&model);
  all_ranks_passed();
}
#endif

static int begin(void **state) {
  (void)state;
#ifdef SB_TEST_ON_CUDA
  return sb_cuda_create(SB_COMPUTE_F32, 0, "this machine", &backend) != SB_OK;
#else
  return sb_backend_cpu_create(SB_COMPUTE_F32, 1, &backend) != SB_OK;
#endif
}

static int end(void **state) {
  (void)state;
  backend->op->destroy(backend);
  return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_ways, begin, end),
    cmocka_unit_test_setup_teardown(test_given, begin, end),
#ifdef SB_TEST_ON_CUDA
    cmocka_unit_test_setup_teardown(test_sums_by_mpi, begin, end),
    cmocka_unit_test_setup_teardown(test_full_device, begin, end),
#endif
    cmocka_unit_test_setup_teardown(test_failures, begin, end)};
RANKS_MAIN(tests)
