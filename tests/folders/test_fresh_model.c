/* Models in f32 that training begins with: random weights of the right kind, and weights of any
 * type in a folder; the same on any number of ranks. */
#include <math.h>

#include "folders/fresh_model.h"
#include "folders/hf_load.h"
#include "folders/synth.h"
#include "io/atomic.h"
#include "tests/support/shared_scratch.h"

static const sb_blocking blocking = {16, 16, SB_GRID_ASYMMETRIC};

static const char *write_config(const char *range) {
  char text[512];
  const char *path = scratch_path("config.json");
  snprintf(text, sizeof text,
           "{\"architectures\": [\"LlamaForCausalLM\"], \"vocab_size\": 300, \"hidden_size\": 64, "
           "\"intermediate_size\": 96, \"num_hidden_layers\": 2, \"num_attention_heads\": 4%s}",
           range);
  if (world.rank == 0) EXPECT_OK(sb_file_write_atomic(path, text, strlen(text)));
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  return path;
}

typedef struct sums {
  double count, first, second, third, fourth, norms;
} sums;

static sb_status add_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                          void *data) {
  sums *s = context;
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  const float *w = data;
  size_t row, rows;
  sb_place_rows(m, place, unit, &row, &rows);
  for (size_t i = 0; i < rows * t->cols; i++) {
    const double x = (double)w[i];
    if (t->dims == 1) {
      EXPECT(w[i] == 1.0f);
      s->norms++;
      continue;
    }
    s->count++, s->first += x, s->second += x * x, s->third += x * x * x,
        s->fourth += x * x * x * x;
  }
  return SB_OK;
}

/* Moments of 130 thousand weights against those of a normal distribution: mean, deviation, skewness
 * and kurtosis, each within five standard errors. */
static void check_normal(const char *range, double sigma) {
  sb_model *m = NULL;
  sums s = {0};
  EXPECT_OK(sb_fresh_model(&world, write_config(range), 7, blocking, &m));
  EXPECT_OK(sb_model_visit_owned(m, add_unit, &s));
  EXPECT(MPI_Allreduce(MPI_IN_PLACE, &s, 6, MPI_DOUBLE, MPI_SUM, world.comm) == MPI_SUCCESS);
  const double n = s.count, mean = s.first / n, deviation = sqrt(s.second / n);
  EXPECT(s.norms == 5 * 64 && n > 1e5);
  EXPECT(fabs(mean) < 5 * sigma / sqrt(n));
  EXPECT(fabs(deviation / sigma - 1) < 5 / sqrt(2 * n));
  EXPECT(fabs(s.third / n / pow(deviation, 3)) < 5 * sqrt(15 / n));
  EXPECT(fabs(s.fourth / n / pow(deviation, 4) - 3) < 5 * sqrt(96 / n));
  sb_model_free(&m);
}

static void normal_weights(void **state) {
  (void)state;
  scratch_begin();
  check_normal("", 0.02);
  check_normal(", \"initializer_range\": 0.5", 0.5);
  sb_model *m = NULL;
  EXPECT(sb_fresh_model(&world, write_config(", \"initializer_range\": -1"), 7, blocking, &m) ==
         SB_ERR_FORMAT);
  EXPECT(strstr(sb_message(), "initializer_range -1 is no standard deviation") != NULL);
  EXPECT(m == NULL);
  scratch_end();
  all_ranks_passed();
}

typedef struct comparison {
  sb_model *other;
  size_t units, different;
} comparison;

/* Units of a model whose ranks are other ones: a world of one has all. */
static sb_status compare(void *context, sb_model *m, const sb_place *place, size_t unit,
                         void *data) {
  comparison *c = context;
  size_t first, rows;
  sb_place_rows(m, place, unit, &first, &rows);
  const size_t count = rows * m->arch.tensors[place->tensor].cols;
  const sb_dtype dtype = c->other->dtypes[place->tensor];
  const void *from = sb_store_unit(c->other->store, place->group, place->first_unit + unit);
  float *expected = malloc(count * sizeof *expected);
  EXPECT(from != NULL && m->dtypes[place->tensor] == SB_F32);
  sb_to_f32(expected, from, dtype, count);
  c->units++;
  c->different += memcmp(expected, data, count * sizeof *expected) != 0;
  free(expected);
  return SB_OK;
}

static void check_equal(sb_model *m, sb_model *other) {
  comparison c = {.other = other};
  EXPECT_OK(sb_model_visit_owned(m, compare, &c));
  EXPECT(c.units > 0 && c.different == 0);
}

static void same_on_ranks(void **state) {
  (void)state;
  sb_model *m = NULL, *alone = NULL, *seed = NULL;
  comparison c = {0};
  scratch_begin();
  const char *config = write_config("");
  EXPECT_OK(sb_fresh_model(&world, config, 7, blocking, &m));
  EXPECT_OK(sb_fresh_model(world_alone(), config, 7, blocking, &alone));
  EXPECT_OK(sb_fresh_model(world_alone(), config, 8, blocking, &seed));
  check_equal(m, alone);
  c.other = seed;
  EXPECT_OK(sb_model_visit_owned(m, compare, &c));
  EXPECT(c.different > 0);
  sb_model_free(&seed);
  sb_model_free(&alone);
  sb_model_free(&m);
  scratch_end();
  all_ranks_passed();
}

/* What a folder of any type holds, as f32; units with rows of several ranks. */
static void folders_as_f32(void **state) {
  (void)state;
  const sb_dtype types[] = {SB_F32, SB_F16, SB_BF16};
  scratch_begin();
  for (size_t i = 0; i < 3; i++) {
    sb_model *m = NULL, *alone = NULL;
    sb_destination out = {0};
    sb_hf_folder_stats stats;
    uint64_t parameters = 0;
    const char *folder = scratch_path("model");
    const sb_synth_setup setup = {.config = write_config(""),
                                  .out = &out,
                                  .dtype = types[i],
                                  .seed = 11,
                                  .file_bytes = 20000};
    EXPECT_OK(sb_destination_begin(&world, folder, true, NULL, &out));
    EXPECT_OK(sb_synth_make(&world, &setup, &stats, &parameters));
    sb_destination_end(&out);
    EXPECT_OK(sb_hf_load_f32(&world, folder, blocking, &m));
    EXPECT_OK(sb_hf_load(world_alone(), folder, blocking, true, &alone));
    check_equal(m, alone);
    sb_model_free(&alone);
    sb_model_free(&m);
  }
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(normal_weights),
                                          cmocka_unit_test(same_on_ranks),
                                          cmocka_unit_test(folders_as_f32)};
RANKS_MAIN(tests)
