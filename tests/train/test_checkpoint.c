/* Checkpoints: what was saved is loaded on any number of ranks, a run goes on from there to the
 * same bits, the old one stays until the new one is complete, and what is damaged or of another run
 * is refused by name. */
#include "train/checkpoint.h"

#include <sys/stat.h>

#include "io/atomic.h"
#include "tests/support/shared_scratch.h"
#include "tests/train/runs.h"
#include "train/checkpoint_dir.h"
#include "train/run_state.h"

static sb_key key;
static sb_trainer_progress last_saved; /* by the last begin_save */

static sb_checkpoints *open_checkpoints(run *r, size_t keep, bool wait) {
  static char path[1024], side_files[1024];
  sb_checkpoints *c = NULL;
  snprintf(path, sizeof path, "%s", scratch_path("saved"));
  snprintf(side_files, sizeof side_files, "%s/%s", SB_SOURCE_DIR,
           json_string_value(json_object_get(r->expect, "model")));
  const sb_checkpoints_setup setup = {.world = r->world,
                                      .optimizer = sb_trainer_optimizer(r->trainer),
                                      .key = &key,
                                      .path = path,
                                      .side_files = side_files,
                                      .keep = keep,
                                      .wait = wait};
  EXPECT_OK(sb_checkpoints_open(&setup, &c));
  return c;
}

static sb_status begin_save(run *r, sb_checkpoints *c) {
  const sb_run_state state = {
      .progress = sb_trainer_progress_of(r->trainer), .seconds = 1.25, .loss = 2.125};
  last_saved = state.progress;
  const sb_optimizer_info info = {.step = state.progress.step,
                                  .updates = state.progress.updates,
                                  .adamw = r->options.adamw,
                                  .rate = 0.1,
                                  .clip = 1,
                                  .batch = r->options.batch,
                                  .seqlen = r->options.seqlen};
  return sb_checkpoints_begin(c, &info, r->world->rank == 0 ? sb_run_state_json(&state) : NULL);
}

static void finish_save(sb_checkpoints *c) {
  const char *path;
  bool saved;
  EXPECT_OK(sb_checkpoints_poll(c, true, &saved, &path));
  EXPECT(saved);
  EXPECT_OK(sb_checkpoints_poll(c, true, &saved, &path));
  EXPECT(!saved);
}

/* Loads the newest into a run of its own, and gives the step that it is of; 0: there is none. */
static uint64_t load(run *r, sb_checkpoints *c) {
  sb_run_state state = {0};
  json_t *object = NULL;
  EXPECT_OK(sb_checkpoints_load(c, &object));
  if (!object) return 0;
  EXPECT_OK(sb_run_state_parse(object, &state));
  EXPECT(state.seconds == 1.25 && state.loss == 2.125);
  if (state.progress.step == last_saved.step) /* the windows of losses and norms, bit for bit */
    EXPECT(memcmp(&state.progress, &last_saved, sizeof last_saved) == 0);
  json_decref(object);
  sb_trainer_resume(r->trainer, &state.progress);
  return state.progress.step;
}

static bool same_state(const run *a, const run *b) {
  const sb_optimizer *x = sb_trainer_optimizer(a->trainer), *y = sb_trainer_optimizer(b->trainer);
  const size_t bytes = x->shares->elements * sizeof(float);
  bool same = memcmp(x->m, y->m, bytes) == 0 && memcmp(x->v, y->v, bytes) == 0;
  for (size_t u = 0; u < x->shares->count; u++)
    same = same && memcmp(x->shares->units[u].master, y->shares->units[u].master,
                          x->shares->units[u].count * sizeof(float)) == 0;
  return same && x->updates == y->updates;
}

/* Saved in the middle while steps go on, on all ranks; loaded by all, and by one rank alone. */
static void goes_on(void **state) {
  (void)state;
  scratch_begin();
  for (int wait = 0; wait < 2; wait++) {
    run r, next;
    run_open(&r, &world, "tied", 1, 0);
    run_open(&next, &world, "tied", 1, 0);
    sb_checkpoints *c = open_checkpoints(&r, 1, wait);
    for (int i = 0; i < 3; i++) (void)run_step(&r);
    EXPECT_OK(begin_save(&r, c));
    for (int i = 0; i < 2; i++) (void)run_step(&r); /* the copy is what is written */
    finish_save(c);
    sb_checkpoints_close(&c);
    c = open_checkpoints(&next, 1, false);
    EXPECT(load(&next, c) == 3 && last_saved.losses.count == 3 && last_saved.losses.values[2] > 1);
    for (int i = 0; i < 2; i++) (void)run_step(&next);
    EXPECT(same_state(&r, &next));
    sb_checkpoints_close(&c);
    EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
    if (world.rank == 0) {
      run alone, whole;
      run_open(&alone, world_alone(), "tied", 1, 0);
      run_open(&whole, world_alone(), "tied", 1, 0);
      c = open_checkpoints(&alone, 1, false);
      EXPECT(load(&alone, c) == 3);
      for (int i = 0; i < 3; i++) (void)run_step(&whole);
      EXPECT(same_state(&alone, &whole));
      sb_checkpoints_close(&c);
      run_close(&whole);
      run_close(&alone);
    }
    EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
    run_close(&next);
    run_close(&r);
  }
  scratch_end();
  all_ranks_passed();
}

static bool is_there(const char *name) {
  char path[2048];
  struct stat info;
  snprintf(path, sizeof path, "%s/saved/%s", scratch, name);
  return stat(path, &info) == 0;
}

/* One that is not finished is none; rotation removes the old one when the new one is complete. */
static void old_ones(void **state) {
  run r;
  (void)state;
  scratch_begin();
  run_open(&r, &world, "tied", 1, 0);
  sb_checkpoints *c = open_checkpoints(&r, 1, false);
  EXPECT(load(&r, c) == 0);
  (void)run_step(&r);
  EXPECT_OK(begin_save(&r, c));
  finish_save(c);
  (void)run_step(&r);
  EXPECT_OK(begin_save(&r, c));
  sb_checkpoints_close(&c); /* the run failed meanwhile */
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  EXPECT(is_there("step-00000001") && !is_there("step-00000002"));
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  c = open_checkpoints(&r, 1, false);
  EXPECT(load(&r, c) == 1);
  for (int i = 0; i < 2; i++) (void)run_step(&r);
  EXPECT_OK(begin_save(&r, c));
  (void)run_step(&r);
  EXPECT_OK(begin_save(&r, c)); /* finishes the one before */
  EXPECT(is_there("step-00000003") && !is_there("step-00000001"));
  finish_save(c);
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  EXPECT(is_there("step-00000004") && !is_there("step-00000003"));
  sb_checkpoints_close(&c);
  run_close(&r);
  scratch_end();
  all_ranks_passed();
}

static void expect_refusal(run *r, const char *text) {
  sb_checkpoints *c = open_checkpoints(r, 1, false);
  json_t *object = NULL;
  EXPECT(sb_checkpoints_load(c, &object) == SB_ERR_FORMAT && !object);
  if (!strstr(sb_message(), text)) print_error("'%s' is not in: %s\n", text, sb_message());
  EXPECT(strstr(sb_message(), text) && !strchr(sb_message(), '\n'));
  sb_checkpoints_close(&c);
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
}

/* One byte of a file, `from_end` bytes before its end. */
static void flip(const char *name, long from_end) {
  char path[2048];
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  if (world.rank == 0) {
    snprintf(path, sizeof path, "%s/saved/step-00000002/%s", scratch, name);
    FILE *f = fopen(path, "r+b");
    EXPECT(f && fseek(f, -from_end, SEEK_END) == 0);
    const int byte = fgetc(f);
    EXPECT(fseek(f, -from_end, SEEK_END) == 0 && fputc(byte ^ 1, f) != EOF && fclose(f) == 0);
  }
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
}

static void refused(void **state) {
  run r;
  (void)state;
  scratch_begin();
  run_open(&r, &world, "tied", 1, 0);
  key = (sb_key){0};
  sb_key_add(&key, "batch", "--batch", "%d", 4);
  sb_key_add(&key, "seed", "--seed", "%d", 7);
  sb_checkpoints *c = open_checkpoints(&r, 1, false);
  for (int i = 0; i < 2; i++) (void)run_step(&r);
  EXPECT_OK(begin_save(&r, c));
  finish_save(c);
  sb_checkpoints_close(&c);
  snprintf(key.entries[1].text, SB_KEY_TEXT, "8");
  expect_refusal(&r,
                 "training.json: a state of training with another --seed: 7 there, 8 here; give "
                 "it the same, or another --checkpoints");
  snprintf(key.entries[1].text, SB_KEY_TEXT, "7");
  flip("model.safetensors", 400);
  expect_refusal(
      &r, "step-00000002: damaged: weights or moments are not as they were written; remove ");
  flip("model.safetensors", 400);
  flip("optimizer.safetensors", 4000);
  expect_refusal(&r, "saved/step-00000002 to begin anew");
  flip("optimizer.safetensors", 4000);
  flip("training.json", 60);
  expect_refusal(&r, "training.json: ");
  flip("training.json", 60);
  c = open_checkpoints(&r, 1, false);
  EXPECT(load(&r, c) == 2); /* all is as it was */
  sb_checkpoints_close(&c);
  key = (sb_key){0};
  run_close(&r);
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(goes_on), cmocka_unit_test(old_ones),
                                          cmocka_unit_test(refused)};
RANKS_MAIN(tests)
