/* Training as PyTorch does it: losses and gradient norms of 100 steps of torch.optim.AdamW, and the
 * weights after 20 (tests/train/golden). */
#include <math.h>

#include "io/safetensors.h"
#include "tests/train/runs.h"

/* f32 on both sides, and sums of other orders: measured are 2e-7 for losses, 3e-5 for norms, 3e-6
 * for weights, which 20 steps move by up to 0.02. */
static const double LOSSES = 1e-5, NORMS = 3e-4 /* relative */, WEIGHTS = 1e-5 /* absolute */;

typedef struct comparison {
  const sb_safetensors *file;
  size_t stride, compared;
  double worst;
} comparison;

/* The file has every stride-th element of a tensor. */
static sb_status compare_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                              void *data) {
  comparison *c = context;
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  const sb_tensor_info *info = sb_safetensors_find(c->file, t->name);
  const float *w = data;
  size_t row, rows;
  EXPECT(info != NULL);
  if (!info) return SB_OK;
  sb_place_rows(m, place, unit, &row, &rows);
  const size_t first = row * t->cols, end = first + rows * t->cols;
  for (size_t k = sb_div_up(first, c->stride); k * c->stride < end; k++) {
    float expected;
    EXPECT_OK(sb_safetensors_read(c->file, info, k * sizeof expected, sizeof expected, &expected));
    c->worst = fmax(c->worst, fabs((double)w[k * c->stride - first] - (double)expected));
    c->compared++;
  }
  return SB_OK;
}

static void check_weights(run *r, const char *name) {
  char path[1024];
  sb_safetensors *file = NULL;
  snprintf(path, sizeof path, "%s/tests/train/golden/%s/weights.safetensors", SB_SOURCE_DIR, name);
  EXPECT_OK(sb_safetensors_open(path, &file));
  comparison c = {.file = file, .stride = (size_t)run_number(r, "stride")};
  EXPECT_OK(sb_model_visit_owned(r->model, compare_unit, &c));
  EXPECT(c.compared > 0);
  if (r->world->rank == 0) print_message("%s: weights differ by %.2g at most\n", name, c.worst);
  EXPECT(c.worst < WEIGHTS);
  sb_safetensors_close(&file);
}

static void check_run(const char *name, int threads, bool split) {
  run r;
  double worst = 0, worst_norm = 0;
  run_open(&r, &world, name, threads, 0);
  r.backend->split_f32 = split;
  const size_t look = (size_t)run_number(&r, "looked_at");
#ifdef SB_TEST_ON_CUDA /* where the stand-in for a GPU takes a second a step */
  const size_t steps = look;
#else
  const size_t steps = (size_t)run_number(&r, "steps");
#endif
  for (size_t step = 0; step < steps; step++) {
    const sb_step_report report = run_step(&r);
    worst = fmax(worst, fabs(report.loss / run_list(&r, "loss", step) - 1));
    worst_norm = fmax(worst_norm, fabs(report.norm / run_list(&r, "norm", step) - 1));
    if (step + 1 == look) check_weights(&r, name);
  }
  if (r.world->rank == 0)
    print_message("%s: losses of %zu steps differ by %.2g at most, norms by %.2g, relative\n", name,
                  steps, worst, worst_norm);
  EXPECT(worst < LOSSES);
  EXPECT(worst_norm < NORMS);
  run_close(&r);
}

/* f32 products made of bf16 ones (kernels/cpu/cpu_gemm_split.h) train as well. */
static void by_amx(void **state) {
  (void)state;
  check_run("untied", 1, true);
  all_ranks_passed();
}

static void untied(void **state) {
  (void)state;
  check_run("untied", 1, false);
  all_ranks_passed();
}

static void tied(void **state) {
  (void)state;
  check_run("tied", 2, false);
  all_ranks_passed();
}

/* Operands of 8 bits: losses of 6 move by up to 0.0021, norms by up to 0.23% (measured). */
static void bf16(void **state) {
  (void)state;
  run r;
  run_compute = SB_COMPUTE_BF16;
  run_open(&r, &world, "untied", 1, 0);
  run_compute = SB_COMPUTE_F32;
  for (size_t step = 0; step < 20; step++) {
    const sb_step_report report = run_step(&r);
    EXPECT(fabs(report.loss - run_list(&r, "loss", step)) < 0.006);
    EXPECT(fabs(report.norm / run_list(&r, "norm", step) - 1) < 0.007);
  }
  run_close(&r);
  all_ranks_passed();
}

static void demo(void **state) {
  (void)state;
  check_run("demo", 2, false);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(by_amx), cmocka_unit_test(untied),
                                          cmocka_unit_test(tied), cmocka_unit_test(bf16)},
                               demo_tests[] = {cmocka_unit_test(demo)};

/* With the word "demo": that model alone, which takes a minute. */
int main(int argc, char **argv) {
  if (sb_world_init(&argc, &argv, &world) != SB_OK) {
    fprintf(stderr, "%s\n", sb_message());
    sb_world_finalize(&world);
    return 1;
  }
  const int failed = argc > 1 && strcmp(argv[1], "demo") == 0
                         ? cmocka_run_group_tests(demo_tests, NULL, NULL)
                         : cmocka_run_group_tests(tests, NULL, NULL);
  sb_world_finalize(&world);
  return failed != 0;
}
