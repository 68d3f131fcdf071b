/* Rounding by GPTQ: the same units on any number of ranks, less error than rounding to nearest in
 * the metric that it minimises, and checkpoints that go on to the same units. The checkpoint of a
 * run that was cut off after group k is that of a whole run with `groups` set to k: the groups
 * after that are in the file, but nothing says so. */
#include "io/atomic.h"
#include "io/seal.h"
#include "quant/gptq.h"

#include <math.h>

#include "kernels/shared/trellis.h"
#include "pass/layerwise.h"
#include "quant/gptq_checkpoint.h"
#include "tests/support/dense.h"
#include "tests/support/shared_scratch.h"
#include "tests/support/units.h"

typedef struct kind {
  const char *name;
  sb_blocking blocking;
  int refine;
  bool fitted;
} kind;

static const kind kinds[] = {{"gqa-tied", {16, 32, SB_GRID_ASYMMETRIC}, 0, false},
                             {"mha-untied", {7, 10, SB_GRID_SYMMETRIC}, 1, false},
                             {"f32-single", {16, 32, SB_GRID_ASYMMETRIC}, 2, true},
                             {"gqa-tied", {24, 48, SB_TRELLIS_12}, 0, false},
                             {"mha-untied", {16, 32, SB_GRID_SIGNED_BF16}, 2, true}};
enum { TRELLIS = 3 };
enum { KINDS = sizeof kinds / sizeof *kinds, TOKENS = 48, MOST_LAYERS = 8 };

static sb_gptq_options options_of(const kind *k, const char *checkpoint) {
  return (sb_gptq_options){.damping = 0.01,
                           .fitted = k->fitted,
                           .refine = k->refine,
                           .factor = SB_FACTOR_REPLICATED,
                           .checkpoint = checkpoint,
                           .input_bytes = (size_t)1 << 20};
}

/* A golden model with a mix of widths, and what becomes of it. */
typedef struct rounding {
  golden source;
  sb_model *coded;
  sb_gptq_stats stats;
} rounding;

static void open_source(rounding *r, const kind *k, const sb_world *of, uint64_t seed) {
  golden_setup setup = {.name = k->name, .world = of, GOLDEN_DEFAULTS};
  setup.blocking = k->blocking;
  memset(r, 0, sizeof *r);
  golden_open(&r->source, &setup);
  golden_mixed_bits(r->source.model, 2, 5, seed);
}
static sb_status round_it(rounding *r, const sb_gptq_options *options) {
  return sb_gptq(r->source.model, r->source.backend, &r->source.sequences, options, &r->coded,
                 &r->stats);
}
static void close_rounding(rounding *r) {
  if (r->coded) sb_model_free(&r->coded);
  golden_close(&r->source);
}

static void same_on_any_ranks(void **state) {
  (void)state;
  for (int i = 0; i < KINDS; i++) {
    rounding mine, all;
    double errors[2][MOST_LAYERS];
    sb_gptq_options options = options_of(&kinds[i], NULL);
    open_source(&mine, &kinds[i], NULL, 7);
    open_source(&all, &kinds[i], world_alone(), 7);
    EXPECT(mine.source.model->config.layers <= MOST_LAYERS);
    uint8_t *bits = malloc(mine.source.model->blocks);
    memcpy(bits, mine.source.model->bits, mine.source.model->blocks);
    options.layer_errors = errors[0];
    EXPECT_OK(round_it(&mine, &options));
    options.layer_errors = errors[1];
    EXPECT_OK(round_it(&all, &options));
    EXPECT(units_equal(mine.coded, all.coded));
    for (size_t layer = 0; layer < mine.source.model->config.layers; layer++) {
      EXPECT(errors[0][layer] > 0 && errors[0][layer] < 1);
      EXPECT(errors[0][layer] == errors[1][layer]);
    }
    EXPECT(memcmp(mine.coded->bits, bits, mine.coded->blocks) == 0);
    EXPECT(memcmp(mine.source.model->bits, bits, mine.source.model->blocks) == 0);
    EXPECT(mine.stats.factor == SB_FACTOR_REPLICATED && mine.stats.resumed == 0);
    free(bits);
    close_rounding(&mine);
    close_rounding(&all);
  }
  all_ranks_passed();
}

/* ---- the metric ---- */

/* H = sum of x' x over all tokens, for each input of layer 0, where nothing is rounded before. */
enum { MOST_INPUTS = 8 };
typedef struct second_moments {
  const sb_model *model;
  double *of[MOST_INPUTS]; /* [width, width] */
} second_moments;

static size_t width_of(const sb_model *m, size_t input) {
  return sb_arch_input_of(&m->arch, 0, input)->width;
}

static sb_status take_input(void *context, sb_stream stream, size_t input, const void *x) {
  second_moments *h = context;
  const float *row = x;
  const size_t n = width_of(h->model, input);
  (void)stream;
  for (size_t t = 0; t < TOKENS; t++, row += n)
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++) h->of[input][i * n + j] += (double)row[i] * (double)row[j];
  return SB_OK;
}

/* Layer 0 of a model in a world of this rank alone. */
static void load_first_layer(const golden *g, sb_model *model, sb_device_layer **layer) {
  const void *image = NULL;
  EXPECT_OK(sb_device_layer_create(model, g->backend, false, layer));
  EXPECT_OK(sb_store_acquire(model->store, model->layer_first, &image));
  EXPECT_OK(sb_device_layer_load(*layer, NULL, 0, image));
}

static void collect(golden *g, second_moments *h) {
  sb_layerwise *sequences = NULL;
  sb_device_layer *layer = NULL;
  uint8_t *bits = NULL;
  const sb_layer_hooks hooks = {.context = h, .input = take_input};
  EXPECT(sb_arch_inputs(&g->model->arch, 0) <= MOST_INPUTS);
  for (size_t i = 0; i < sb_arch_inputs(&g->model->arch, 0); i++) {
    const size_t n = width_of(g->model, i);
    h->of[i] = calloc(n * n, sizeof *h->of[i]);
  }
  EXPECT_OK(sb_model_lift_bits(g->model, &bits)); /* the inputs in full precision */
  EXPECT_OK(sb_layerwise_create(g->model, g->backend, &g->sequences, &sequences));
  EXPECT_OK(sb_layerwise_embed(sequences, g->model));
  load_first_layer(g, g->model, &layer);
  for (size_t s = 0; s < sb_layerwise_local(sequences); s++)
    EXPECT_OK(sb_layerwise_observe(sequences, layer, s, &hooks));
  EXPECT_OK(sb_store_release(g->model->store, g->model->layer_first));
  sb_model_return_bits(g->model, &bits);
  sb_device_layer_free(&layer);
  sb_layerwise_free(&sequences);
}

/* tr((q - w) H (q - w)'). */
static double error_of(const float *q, const float *w, const sb_tiling *tiling, const double *h) {
  const size_t n = tiling->cols;
  double sum = 0;
  for (size_t r = 0; r < tiling->rows; r++, q += n, w += n)
    for (size_t i = 0; i < n; i++) {
      double at = 0;
      for (size_t j = 0; j < n; j++) at += h[i * n + j] * ((double)q[j] - (double)w[j]);
      sum += at * ((double)q[i] - (double)w[i]);
    }
  return sum;
}

/* To the nearest codes. The caller frees it. */
static float *to_nearest(const golden *g, const sb_matrix *matrix, const float *w) {
  const sb_model *m = g->model;
  if (!sb_is_trellis(m->blocking.code_kind)) return dense_rounded(w, m, matrix, 0);
  float *out = calloc(matrix->tiling.rows * matrix->tiling.cols, sizeof *out);
  EXPECT_OK(g->backend->op->trellis_quantize(
      g->backend, NULL, out, SB_F32,
      &(sb_block_weights){.w = w,
                          .dtype = SB_F32,
                          .tiling = &matrix->tiling,
                          .bits = m->bits + matrix->first_block,
                          .code_kind = m->blocking.code_kind},
      sb_model_row_key(m, matrix), sb_model_col_factors(m, matrix)));
  return out;
}

static void less_error_than_to_nearest(void **state) {
  (void)state;
  for (int i = 0; i < KINDS; i++) {
    rounding r;
    sb_device_layer *layer = NULL;
    const sb_gptq_options options = options_of(&kinds[i], NULL);
    open_source(&r, &kinds[i], world_alone(), 7);
    second_moments h = {.model = r.source.model};
    collect(&r.source, &h);
    EXPECT_OK(round_it(&r, &options));
    load_first_layer(&r.source, r.coded, &layer);
    for (size_t l = 0; l < sb_arch_matrices(&r.source.model->arch, 0); l++) {
      const sb_matrix *matrix = sb_model_matrix(r.source.model, 0, l);
      const double *moments = h.of[sb_arch_matrix(&r.source.model->arch, 0, l)->input];
      float *w = dense_weights(&r.source, matrix), *nearest = to_nearest(&r.source, matrix, w);
      const float *q = sb_device_layer_weights(layer)->products[l].dense_dev;
      const double error = error_of(q, w, &matrix->tiling, moments),
                   plain = error_of(nearest, w, &matrix->tiling, moments);
      if (!(error < 0.9 * plain))
        print_error("%s, matrix %zu: %g, to nearest %g\n", kinds[i].name, l, error, plain);
      EXPECT(error > 0 && error < 0.9 * plain);
      free(w);
      free(nearest);
    }
    EXPECT_OK(sb_store_release(r.coded->store, r.coded->layer_first));
    sb_device_layer_free(&layer);
    for (size_t input = 0; input < MOST_INPUTS; input++) free(h.of[input]);
    close_rounding(&r);
  }
  all_ranks_passed();
}

/* What layer 0 of `model` makes of sequence s, [TOKENS, hidden]. */
static void output_of_first_layer(golden *g, sb_model *model, sb_layerwise *sequences, size_t s,
                                  float *out) {
  sb_device_layer *layer = NULL;
  load_first_layer(g, model, &layer);
  EXPECT_OK(sb_layerwise_observe(sequences, layer, s, &(sb_layer_hooks){0}));
  memcpy(out, sb_layerwise_observed(sequences), TOKENS * model->config.hidden * sizeof *out);
  EXPECT_OK(sb_store_release(model->store, model->layer_first));
  sb_device_layer_free(&layer);
}

/* The error of layer 0, against loops over the outputs of both versions of it. */
static void error_of_a_layer(void **state) {
  (void)state;
  rounding r;
  double errors[MOST_LAYERS], added = 0, changed = 0;
  sb_gptq_options options = options_of(&kinds[0], NULL);
  sb_layerwise *sequences = NULL;
  uint8_t *bits = NULL;
  options.layer_errors = errors;
  open_source(&r, &kinds[0], world_alone(), 7);
  EXPECT_OK(round_it(&r, &options));
  golden *g = &r.source;
  const size_t count = TOKENS * g->model->config.hidden;
  float *y[2] = {malloc(count * sizeof **y), malloc(count * sizeof **y)};
  EXPECT_OK(sb_model_lift_bits(g->model, &bits));
  EXPECT_OK(sb_layerwise_create(g->model, g->backend, &g->sequences, &sequences));
  EXPECT_OK(sb_layerwise_embed(sequences, g->model));
  EXPECT(sb_layerwise_local(sequences) == 2);
  for (size_t s = 0; s < 2; s++) {
    const void *state_dev;
    output_of_first_layer(g, g->model, sequences, s, y[0]);
    output_of_first_layer(g, r.coded, sequences, s, y[1]);
    EXPECT_OK(sb_layerwise_state(sequences, s, &state_dev));
    const float *x = state_dev;
    for (size_t i = 0; i < count; i++) {
      added += pow((double)y[0][i] - (double)x[i], 2);
      changed += pow((double)y[1][i] - (double)y[0][i], 2);
    }
  }
  EXPECT(changed > 0);
  /* sums in another order, in double */
  EXPECT(fabs(errors[0] - changed / added) < 1e-9 * errors[0]);
  sb_model_return_bits(g->model, &bits);
  sb_layerwise_free(&sequences);
  free(y[0]);
  free(y[1]);
  close_rounding(&r);
  all_ranks_passed();
}

/* ---- checkpoints ---- */

/* Sets "groups" of the checkpoint. Collective. */
static void say_groups(const char *path, size_t groups) {
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  if (world.rank == 0) {
    json_t *root = json_load_file(path, 0, NULL);
    EXPECT(json_is_integer(json_object_get(root, "groups")));
    json_object_set_new(root, "groups", json_integer((json_int_t)groups));
    EXPECT_OK(sb_sealed_write(path, root));
    json_decref(root);
  }
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
}

/* Changes one byte of a file, `from_end` bytes before its end. Collective. */
static void spoil(const char *path, long from_end) {
  if (world.rank == 0) {
    FILE *file = fopen(path, "r+b");
    EXPECT(file && fseek(file, -from_end, SEEK_END) == 0);
    const int byte = fgetc(file);
    EXPECT(fseek(file, -1, SEEK_CUR) == 0 && fputc(byte ^ 64, file) != EOF);
    EXPECT(fclose(file) == 0);
  }
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
}

/* Made by all ranks, or by rank 0 alone; gone on with by all. */
static void goes_on(const kind *k, bool by_all, const char *path) {
  rounding whole, made, rest;
  const sb_gptq_options plain = options_of(k, NULL), saved = options_of(k, path);
  open_source(&whole, k, NULL, 7);
  EXPECT_OK(round_it(&whole, &plain));
  const size_t layers = whole.source.model->config.layers;
  if (by_all || world.rank == 0) {
    open_source(&made, k, by_all ? NULL : world_alone(), 7);
    EXPECT_OK(round_it(&made, &saved));
    close_rounding(&made);
  }
  for (size_t done = 0; done <= layers; done++) {
    say_groups(path, done);
    open_source(&rest, k, NULL, 7);
    EXPECT_OK(round_it(&rest, &saved));
    EXPECT(rest.stats.resumed == done);
    EXPECT(units_equal(rest.coded, whole.coded));
    close_rounding(&rest);
  }
  close_rounding(&whole);
}

static void cut_off_runs_go_on(void **state) {
  (void)state;
  scratch_begin();
  const char *by_all = scratch_path("by-all"), *by_one = scratch_path("by-one");
  goes_on(&kinds[1], true, by_all);
  goes_on(&kinds[1], false, by_one);
  goes_on(&kinds[TRELLIS], true, scratch_path("trellis"));
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  sb_gptq_checkpoint_remove(&world, by_one);
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  EXPECT(access(by_one, F_OK) != 0 && access(by_all, F_OK) == 0);
  scratch_end();
  all_ranks_passed();
}

/* SB_ERR_FORMAT on all ranks, with both texts in the message. */
static void refused(const kind *k, uint64_t seed, const sb_gptq_options *options, const char *says,
                    const char *also) {
  rounding r;
  open_source(&r, k, NULL, seed);
  EXPECT(round_it(&r, options) == SB_ERR_FORMAT);
  const bool said = strstr(sb_message(), says) && strstr(sb_message(), also);
  if (!said) print_error("'%s' and '%s' are not in: %s\n", says, also, sb_message());
  EXPECT(said && r.coded == NULL);
  close_rounding(&r);
}

static void other_files_are_refused(void **state) {
  (void)state;
  scratch_begin();
  const kind *k = &kinds[1];
  const char *path = scratch_path("state");
  char layers[1100];
  rounding r;
  sb_gptq_options options = options_of(k, path);
  open_source(&r, k, NULL, 7);
  EXPECT_OK(round_it(&r, &options));
  close_rounding(&r);

  refused(k, 8, &options, path, "another bit map");
  options.refine = 3;
  refused(k, 7, &options, path, "--refine: 1 there, 3 here");
  options = options_of(k, path);
  options.fitted = true;
  refused(k, 7, &options, path, "--grid: plain there, fitted here");
  refused(&kinds[0], 7, &options, path, "another block size (--block): 7x10 there, 16x32 here");

  options = options_of(k, path);
  snprintf(layers, sizeof layers, "%s.layers", path);
  spoil(layers, 10);
  refused(k, 7, &options, path, "damaged");
  spoil(layers, 10); /* whole again */
  open_source(&r, k, NULL, 7);
  EXPECT_OK(round_it(&r, &options));
  EXPECT(r.stats.resumed == r.source.model->config.layers);
  close_rounding(&r);
  if (world.rank == 0) EXPECT_OK(sb_file_write_atomic(path, "{}", 2));
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  refused(k, 7, &options, path, "rounded layers");
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(same_on_any_ranks), cmocka_unit_test(error_of_a_layer),
    cmocka_unit_test(less_error_than_to_nearest), cmocka_unit_test(cut_off_runs_go_on),
    cmocka_unit_test(other_files_are_refused)};
RANKS_MAIN(tests)
