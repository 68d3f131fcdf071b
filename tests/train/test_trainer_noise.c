/* The noise of a step's precisions in its gradient: against sums in double, nothing where nothing
 * is rounded, the same bits on any number of ranks, and a run that goes on as if nobody had asked.
 */
#include "tests/train/runs.h"

#include <math.h>

/* The mean gradient of all tensors, in double, from the hooks of a pass on one rank alone. */
typedef struct gradient {
  const sb_arch *arch;
  size_t *first; /* [tensors] of its elements */
  size_t count, sequences;
  double *sum;
} gradient;

static void gradient_create(gradient *g, const run *r) {
  *g = (gradient){.arch = &r->model->arch, .sequences = r->options.batch};
  g->first = calloc(g->arch->count, sizeof *g->first);
  for (size_t t = 0; t < g->arch->count; t++) {
    g->first[t] = g->count;
    g->count += g->arch->tensors[t].rows * g->arch->tensors[t].cols;
  }
  g->sum = calloc(g->count, sizeof *g->sum);
}

static sb_status take(void *context, sb_stream stream, size_t tensor, size_t first_row, size_t rows,
                      const float *values) {
  gradient *g = context;
  const size_t cols = g->arch->tensors[tensor].cols;
  (void)stream;
  for (size_t i = 0; i < rows * cols; i++)
    g->sum[g->first[tensor] + first_row * cols + i] += values[i] / (double)g->sequences;
  return SB_OK;
}

static sb_status take_matrix(void *context, sb_stream stream, size_t layer, size_t matrix,
                             const float *values) {
  const gradient *g = context;
  const size_t tensor = g->arch->matrices[g->arch->layers[layer].first_matrix + matrix];
  return take(context, stream, tensor, 0, g->arch->tensors[tensor].rows, values);
}

static void gradient_measure(gradient *g, run *r) {
  const sb_pass_hooks hooks = {.context = g,
                               .begin_layer = golden_begin_layer,
                               .matrix = take_matrix,
                               .parameter = take,
                               .end_sequence = golden_end_sequence,
                               .end_layer = golden_end_layer};
  double loss;
  EXPECT_OK(sb_pass_gradients(sb_trainer_pass(r->trainer), &hooks, &loss));
}

typedef struct noise {
  double norm, noise;
  sb_step_report step;
} measured;

/* The next step at `precision`, against its gradient in high precision. */
static measured measure(run *r, sb_precision precision) {
  sb_precision_map map;
  measured n;
  const size_t step = (size_t)sb_trainer_progress_of(r->trainer).step;
  sb_lowprec_options options = sb_lowprec_options_default();
  options.stochastic = false; /* so that gradients of other keys are the same */
  EXPECT_OK(sb_precision_map_create(&r->model->arch, precision, &map));
  EXPECT_OK(sb_pass_set_precisions(sb_trainer_pass(r->trainer), NULL, NULL));
  EXPECT_OK(sb_trainer_keep_gradient(r->trainer, run_tokens(r, step)));
  EXPECT_OK(sb_pass_set_precisions(sb_trainer_pass(r->trainer), &map, &options));
  n.step = run_step(r);
  EXPECT_OK(sb_trainer_noise(r->trainer, &n.norm, &n.noise));
  sb_precision_map_free(&map);
  return n;
}

static void against_doubles(void **state) {
  (void)state;
  if (world.size > 1) return;
  run r;
  gradient high, low;
  run_open(&r, world_alone(), "tied", 1, 0);
  (void)run_step(&r);
  gradient_create(&high, &r);
  gradient_create(&low, &r);
  /* The batch of the step that `measure` makes, at the same weights: first by hand. */
  sb_precision_map map;
  sb_lowprec_options options = sb_lowprec_options_default();
  options.stochastic = false;
  EXPECT_OK(sb_precision_map_create(&r.model->arch, SB_PRECISION_FP4_128, &map));
  sb_pass_set_batch(sb_trainer_pass(r.trainer), run_tokens(&r, 1), 5);
  gradient_measure(&high, &r);
  EXPECT_OK(sb_pass_set_precisions(sb_trainer_pass(r.trainer), &map, &options));
  gradient_measure(&low, &r);
  const measured n = measure(&r, SB_PRECISION_FP4_128);
  double norm = 0, difference = 0;
  for (size_t i = 0; i < high.count; i++) {
    norm += high.sum[i] * high.sum[i];
    difference += (low.sum[i] - high.sum[i]) * (low.sum[i] - high.sum[i]);
  }
  /* f32 gradients, rounded to quanta: 1e-6 of a norm is far above both. */
  EXPECT(fabs(n.norm - sqrt(norm)) < 1e-6 * n.norm);
  EXPECT(fabs(n.noise - sqrt(difference)) < 1e-6 * n.norm);
  EXPECT(n.noise > 1e-3 * n.norm);
  sb_precision_map_free(&map);
  free(high.first), free(high.sum), free(low.first), free(low.sum);
  run_close(&r);
  all_ranks_passed();
}

static void same_on_any_ranks(void **state) {
  (void)state;
  run r, alone;
  run_open(&r, &world, "untied", 2, 0);
  run_open(&alone, world_alone(), "untied", 1, 0);
  const measured high = measure(&r, SB_PRECISION_HIGH), low = measure(&r, SB_PRECISION_NVFP4);
  EXPECT(high.noise == 0 && high.norm == high.step.norm);
  EXPECT(low.noise > 0);
  const sb_step_report first = run_step(&alone); /* nobody asks here */
  EXPECT(first.loss == high.step.loss && first.norm == high.step.norm);
  const measured same = measure(&alone, SB_PRECISION_NVFP4);
  EXPECT(same.norm == low.norm && same.noise == low.noise && same.step.loss == low.step.loss);
  double norm, noise;
  EXPECT(sb_trainer_noise(r.trainer, &norm, &noise) == SB_ERR_INTERNAL); /* forgotten */
  run_close(&alone);
  run_close(&r);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(against_doubles),
                                          cmocka_unit_test(same_on_any_ranks)};
RANKS_MAIN(tests)
