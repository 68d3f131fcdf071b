/* Training runs of tests/train/golden (made by tools/make_train_golden.py), opened on all ranks of
 * a world. */
#ifndef SB_TESTS_TRAIN_RUNS_H
#define SB_TESTS_TRAIN_RUNS_H

#include "tests/support/golden.h"
#include "train/trainer.h"

static sb_compute run_compute = SB_COMPUTE_F32; /* of the runs that are opened next */

typedef struct run {
  const sb_world *world;
  json_t *expect;
  sb_backend *backend;
  sb_model *model;
  sb_trainer *trainer;
  sb_trainer_options options;
  uint16_t *file;   /* data/calib.bin */
  size_t windows;   /* that it has */
  uint32_t *tokens; /* of this rank's sequences of a step */
} run;

static inline double run_number(const run *r, const char *key) {
  return json_number_value(json_object_get(r->expect, key));
}

static inline double run_list(const run *r, const char *key, size_t i) {
  return json_number_value(json_array_get(json_object_get(r->expect, key), i));
}

static inline void run_read_tokens(run *r) {
  FILE *f = fopen(SB_SOURCE_DIR "/data/calib.bin", "rb");
  const size_t most = 1 << 20;
  r->file = malloc(most * sizeof *r->file);
  EXPECT(f && r->file);
  r->windows = fread(r->file, sizeof *r->file, most, f) / r->options.seqlen;
  fclose(f);
  r->tokens = calloc((sb_pass_local(r->world, r->options.batch) + 1) * r->options.seqlen,
                     sizeof *r->tokens);
}

static inline sb_trainer_options run_options(const run *r) {
  return (sb_trainer_options){.adamw = {.beta1 = run_number(r, "beta1"),
                                        .beta2 = run_number(r, "beta2"),
                                        .eps = run_number(r, "eps"),
                                        .decay = run_number(r, "decay")},
                              .schedule = {.curve = SB_SCHEDULE_COSINE,
                                           .peak = run_number(r, "rate"),
                                           .floor = run_number(r, "floor"),
                                           .steps = (size_t)run_number(r, "steps"),
                                           .warmup = (size_t)run_number(r, "warmup")},
                              .clip = run_number(r, "clip"),
                              .batch = (size_t)run_number(r, "batch"),
                              .seqlen = (size_t)run_number(r, "seqlen"),
                              .activation_bytes = (size_t)1 << 30};
}

static inline void run_open(run *r, const sb_world *of, const char *name, int threads,
                            size_t activation_bytes) {
  char path[1024];
  *r = (run){.world = of};
  snprintf(path, sizeof path, "%s/tests/train/golden/%s/expect.json", SB_SOURCE_DIR, name);
  r->expect = json_load_file(path, 0, NULL);
  EXPECT(r->expect != NULL);
  r->options = run_options(r);
  if (activation_bytes) r->options.activation_bytes = activation_bytes;
  snprintf(path, sizeof path, "%s/%s", SB_SOURCE_DIR,
           json_string_value(json_object_get(r->expect, "model")));
  EXPECT_OK(golden_backend(run_compute, threads, &r->backend));
  EXPECT_OK(sb_hf_load_f32(of, path, (sb_blocking){16, 32, SB_GRID_ASYMMETRIC}, &r->model));
  EXPECT_OK(sb_trainer_create(r->model, r->backend, &r->options, &r->trainer));
  run_read_tokens(r);
}

static inline void run_close(run *r) {
  sb_trainer_free(&r->trainer);
  sb_model_free(&r->model);
  r->backend->op->destroy(r->backend);
  json_decref(r->expect);
  free(r->file);
  free(r->tokens);
}

/* This rank's sequences of a step: of the batch's sequence s, window step x batch + s. */
static inline const uint32_t *run_tokens(run *r, size_t step) {
  const size_t batch = r->options.batch, T = r->options.seqlen;
  uint32_t *to = r->tokens;
  for (size_t s = (size_t)r->world->rank; s < batch; s += (size_t)r->world->size)
    for (size_t i = 0; i < T; i++)
      *to++ = (uint32_t)(r->file[(step * batch + s) % r->windows * T + i] % r->model->config.vocab);
  return r->tokens;
}

static inline sb_step_report run_step(run *r) {
  sb_step_report report = {0};
  const size_t step = (size_t)sb_trainer_progress_of(r->trainer).step;
  EXPECT_OK(sb_trainer_step(r->trainer, run_tokens(r, step), &report));
  EXPECT(report.step == step);
  return report;
}

#endif
