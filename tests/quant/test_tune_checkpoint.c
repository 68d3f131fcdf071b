/* Training of scales that was cut off goes on from its checkpoint, on any number of ranks, to the
 * same units and figures; files of other training and damaged ones are refused.
 *
 * The file of a short run has its first step, since steps are saved that seldom: what a run that
 * was cut off after it would leave. */
#include "io/atomic.h"
#include "quant/tune_checkpoint.h"

#include "quant/encode.h"
#include "quant/tune_scales.h"
#include "tests/support/golden.h"
#include "tests/support/shared_scratch.h"
#include "tests/support/units.h"

enum { EPOCHS = 4 };

typedef struct training {
  golden source;
  sb_model *coded;
  sb_tune_stats stats;
} training;

static sb_tune_options options_of(const char *checkpoint) {
  return (sb_tune_options){.trained = {.norms = true, .tables = {true, true}},
                           .batch = 1,
                           .epochs = EPOCHS,
                           .rate = 0.125,
                           .activation_bytes = (size_t)1 << 20,
                           .checkpoint = checkpoint};
}

static void begin(training *t, const sb_world *of, uint64_t seed, sb_code_kind code_kind) {
  golden_setup setup = {.name = "gqa-tied", .world = of, .divergence = true, GOLDEN_DEFAULTS};
  setup.blocking.code_kind = code_kind;
  memset(t, 0, sizeof *t);
  golden_open(&t->source, &setup);
  golden_mixed_bits(t->source.model, 1, 4, seed);
  golden_mixed_tables(t->source.model, 2, 4, seed);
  EXPECT_OK(sb_encode_nearest(t->source.model, &t->coded));
}
static sb_status train(training *t, const sb_tune_options *options) {
  return sb_tune(t->source.model, t->coded, t->source.backend, &t->source.sequences, options,
                 &t->stats);
}
static void end(training *t) {
  sb_model_free(&t->coded);
  golden_close(&t->source);
}

static size_t saved_steps(const char *path) {
  json_t *root = json_load_file(path, 0, NULL);
  const json_int_t steps = json_integer_value(json_object_get(root, "steps"));
  json_decref(root);
  return (size_t)steps;
}

/* A run with a checkpoint, of all ranks or of rank 0 alone. Collective. */
static void make_checkpoint(bool by_all, sb_code_kind code_kind, const char *path) {
  const sb_tune_options options = options_of(path);
  if (by_all || world.rank == 0) {
    training t;
    begin(&t, by_all ? NULL : world_alone(), 7, code_kind);
    EXPECT_OK(train(&t, &options));
    EXPECT(t.stats.resumed == 0);
    end(&t);
  }
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
}

static void goes_on(bool by_all, sb_code_kind code_kind, const char *path) {
  training whole, rest;
  const sb_tune_options plain = options_of(NULL), saved = options_of(path);
  make_checkpoint(by_all, code_kind, path);
  const size_t steps = saved_steps(path);
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  begin(&whole, NULL, 7, code_kind);
  begin(&rest, NULL, 7, code_kind);
  EXPECT(units_equal(rest.coded, whole.coded)); /* before */
  EXPECT_OK(train(&whole, &plain));
  EXPECT(!units_equal_everywhere(rest.coded, whole.coded));
  EXPECT_OK(train(&rest, &saved));
  EXPECT(rest.stats.resumed == steps && steps > 0 && steps < rest.stats.steps);
  EXPECT(units_equal(rest.coded, whole.coded));
  EXPECT(rest.stats.before == whole.stats.before && rest.stats.after == whole.stats.after);
  EXPECT(rest.stats.steps == whole.stats.steps);
  end(&whole);
  end(&rest);
}

static void cut_off_runs_go_on(void **state) {
  (void)state;
  scratch_begin();
  const char *by_all = scratch_path("by-all"), *by_one = scratch_path("by-one");
  goes_on(true, SB_GRID_ASYMMETRIC, by_all);
  goes_on(false, SB_GRID_ASYMMETRIC, by_one);
  goes_on(false, SB_TRELLIS_12, scratch_path("trellis"));
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  sb_tune_checkpoint_remove(&world, by_one);
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  EXPECT(access(by_one, F_OK) != 0 && access(by_all, F_OK) == 0);
  scratch_end();
  all_ranks_passed();
}

/* SB_ERR_FORMAT on all ranks, with both texts in the message. */
static void refused(uint64_t seed, const sb_tune_options *options, const char *says,
                    const char *also) {
  training t;
  begin(&t, NULL, seed, SB_GRID_ASYMMETRIC);
  EXPECT(train(&t, options) == SB_ERR_FORMAT);
  const bool said = strstr(sb_message(), says) && strstr(sb_message(), also);
  if (!said) print_error("'%s' and '%s' are not in: %s\n", says, also, sb_message());
  EXPECT(said);
  end(&t);
}

/* Changes every byte of a file. Collective. */
static void invert(const char *path) {
  if (world.rank == 0) {
    char *data = NULL;
    size_t bytes = 0;
    EXPECT_OK(sb_file_read_all(path, 1 << 24, &data, &bytes));
    EXPECT(bytes > 0);
    for (size_t i = 0; i < bytes; i++) data[i] = (char)~data[i];
    EXPECT_OK(sb_file_write_atomic(path, data, bytes));
    sb_free(&data);
  }
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
}

static void other_files_are_refused(void **state) {
  (void)state;
  scratch_begin();
  const char *path = scratch_path("state"), *scales = scratch_path("state.scales");
  sb_tune_options options = options_of(path);
  make_checkpoint(true, SB_GRID_ASYMMETRIC, path);
  options.rate = 0.25;
  refused(7, &options, path, "--tune-rate: 0.125 there, 0.25 here");
  options = options_of(path);
  options.batch = 2;
  refused(7, &options, path, "--tune-batch: 1 there, 2 here");
  options = options_of(path);
  options.epochs = 5;
  refused(7, &options, path, "--tune-epochs: 4 there, 5 here");
  options = options_of(path);
  options.trained.norms = false;
  refused(7, &options, path, "norms: yes there, none here");
  options = options_of(path);
  options.trained.tables[0] = false;
  refused(7, &options, path, "tables: yes there, none here");
  options = options_of(path);
  refused(8, &options, path, "another");
  invert(scales);
  refused(7, &options, scales, "damaged");
  invert(scales); /* whole again */
  training t;
  begin(&t, NULL, 7, SB_GRID_ASYMMETRIC);
  EXPECT_OK(train(&t, &options));
  EXPECT(t.stats.resumed > 0);
  end(&t);
  if (world.rank == 0) EXPECT_OK(sb_file_write_atomic(path, "{}", 2));
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  refused(7, &options, path, "scales");
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(cut_off_runs_go_on),
                                          cmocka_unit_test(other_files_are_refused)};
RANKS_MAIN(tests)
