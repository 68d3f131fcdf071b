/* Steps without a number: the message names tensor and GEMM, the same on any number of ranks;
 * weights, moments and progress stay, and once the weights are mended the run goes on. */
#include <math.h>

#include "tests/train/runs.h"

typedef struct change {
  const char *tensor;
  float factor; /* of all weights; 0: the first becomes NaN */
} change;

static sb_status change_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                             void *data) {
  const change *c = context;
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  float *w = data;
  size_t first, rows;
  if (strcmp(t->name, c->tensor) != 0) return SB_OK;
  sb_place_rows(m, place, unit, &first, &rows);
  for (size_t i = 0; c->factor > 0 && i < rows * t->cols; i++) w[i] *= c->factor;
  if (c->factor == 0 && first == 0) w[0] = NAN;
  return SB_OK;
}

static void apply(run *r, change c) {
  EXPECT_OK(sb_model_visit_owned(r->model, change_unit, &c));
}

static float *copy_weights(const run *r) {
  const sb_shares *s = sb_trainer_optimizer(r->trainer)->shares;
  float *kept = malloc((s->elements + 1) * sizeof *kept);
  for (size_t i = 0; i < s->count; i++)
    memcpy(kept + s->units[i].first, s->units[i].master, s->units[i].count * sizeof *kept);
  return kept;
}

static void put_weights(const run *r, const float *kept) {
  const sb_shares *s = sb_trainer_optimizer(r->trainer)->shares;
  for (size_t i = 0; i < s->count; i++)
    memcpy(s->units[i].master, kept + s->units[i].first, s->units[i].count * sizeof *kept);
}

static void expect_failure(run *r, const char *text) {
  sb_step_report report;
  const sb_optimizer *o = sb_trainer_optimizer(r->trainer);
  const uint64_t step = sb_trainer_progress_of(r->trainer).step, updates = o->updates;
  float *before = copy_weights(r);
  EXPECT(sb_trainer_step(r->trainer, run_tokens(r, (size_t)step), &report) == SB_ERR_NUMERIC);
  if (!strstr(sb_message(), text)) print_error("\"%s\" lacks \"%s\"\n", sb_message(), text);
  EXPECT(strstr(sb_message(), text) != NULL);
  float *after = copy_weights(r);
  EXPECT(memcmp(before, after, o->shares->elements * sizeof *before) == 0);
  EXPECT(sb_trainer_progress_of(r->trainer).step == step && o->updates == updates);
  free(before);
  free(after);
}

static void check(size_t activation_bytes) {
  const struct {
    change changes[8];
    const char *text;
  } cases[] = {
      {{{"model.layers.1.self_attn.k_proj.weight", 0}},
       "model.layers.1.self_attn.k_proj.weight has a weight that is no number"},
      {{{"model.layers.1.mlp.up_proj.weight", 1e38f},
        {"model.layers.0.self_attn.o_proj.weight", 1}},
       "model.layers.1.mlp.up_proj.weight is the first whose output is no number (fprop)"},
      {{{"model.layers.0.self_attn.o_proj.weight", 3e38f}},
       "model.layers.0.self_attn.o_proj.weight is the first whose output is no number (fprop)"},
      {{{"model.layers.0.mlp.down_proj.weight", 3e38f}},
       "model.layers.0.mlp.down_proj.weight is the first whose output is no number (fprop)"},
      {{{"lm_head.weight", 3e38f}}, "the LM head is the first whose output is no number (fprop)"},
      /* a residual stream that is tiny, so that its norm multiplies the gradient */
      {{{"model.embed_tokens.weight", 1e-35f},
        {"model.layers.0.self_attn.o_proj.weight", 1e-35f},
        {"model.layers.0.mlp.down_proj.weight", 1e-35f},
        {"model.layers.1.self_attn.o_proj.weight", 1e-35f},
        {"model.layers.1.mlp.down_proj.weight", 1e-35f},
        {"model.norm.weight", 1e10f},
        {"lm_head.weight", 1e30f}},
       "the LM head is the first whose input gradient is no number (dgrad)"},
      /* inputs a million times as large, and matrices that make up for it */
      {{{"model.layers.1.input_layernorm.weight", 1e6f},
        {"model.layers.1.self_attn.q_proj.weight", 1e-6f},
        {"model.layers.1.self_attn.k_proj.weight", 1e-6f},
        {"model.layers.1.self_attn.v_proj.weight", 1e-6f}},
       "model.layers.1.self_attn.q_proj.weight is the first whose gradient is no number, or is "
       "1024 "
       "or more in one sequence (wgrad)"},
  };
  run r, whole;
  run_open(&r, &world, "untied", 1, activation_bytes);
  run_open(&whole, &world, "untied", 1, 0);
  (void)run_step(&r);
  (void)run_step(&whole);
  float *kept = copy_weights(&r);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    for (size_t k = 0; k < 8 && cases[i].changes[k].tensor; k++) apply(&r, cases[i].changes[k]);
    expect_failure(&r, cases[i].text);
    put_weights(&r, kept);
  }
  const sb_step_report a = run_step(&r), b = run_step(&whole);
  EXPECT(a.loss == b.loss && a.norm == b.norm);
  free(kept);
  run_close(&whole);
  run_close(&r);
}

static void one_wave(void **state) {
  (void)state;
  check(0);
  all_ranks_passed();
}

static void several_waves(void **state) {
  (void)state;
  check(1);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(one_wave),
                                          cmocka_unit_test(several_waves)};
RANKS_MAIN(tests)
