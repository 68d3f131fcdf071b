/* The checkpoint of a search: what is written is what is read, on all ranks; a file of another
 * device, arithmetic, model or version is refused by the name of what differs. */
#include "alloc/checkpoint.h"
#include "io/seal.h"
#include "quant/checkpoint_key.h"
#include "tests/support/golden.h"
#include "tests/support/shared_scratch.h"

static const sb_search_progress some = {.steps = 5,
                                        .strides = 2,
                                        .trades = 3,
                                        .accepted = 1,
                                        .gain_passes = 4,
                                        .loss_passes = 6,
                                        .share = 0.015,
                                        .loss = 3.25,
                                        .start_loss = 4.5};

/* A key as a search makes it, on a device of that name. */
static sb_key key_on(golden *g, const char *device, sb_dtype operand, double budget) {
  const sb_backend backend = {.name = device, .operand = operand};
  sb_key key;
  sb_checkpoint_key_begin(&key, g->model, &backend);
  EXPECT_OK(sb_checkpoint_key_add_model(&key, "model", "model", g->model));
  EXPECT_OK(
      sb_checkpoint_key_add_tokens(&key, "calibration", "calibration", &world, &g->sequences));
  sb_key_add(&key, "bits", "budget (--bits)", "%.17g", budget);
  return key;
}

static void expect_refused(golden *g, const char *path, const sb_key *key, sb_status expected,
                           const char *text) {
  sb_search_checkpoint checkpoint;
  sb_search_progress progress = {0};
  bool resumes = false;
  EXPECT(sb_search_checkpoint_open(path, key, g->model, &progress, &resumes, &checkpoint) ==
         expected);
  if (strstr(sb_message(), text) == NULL && failures++ < 5)
    print_error("rank %d: \"%s\" does not say \"%s\"\n", world.rank, sb_message(), text);
}

/* Rank 0 replaces `from` by `to` in the file. Collective. */
static void change(const char *path, const char *from, const char *to) {
  char command[4096];
  snprintf(command, sizeof command, "sed -i 's/%s/%s/' '%s'", from, to, path);
  if (world.rank == 0) EXPECT(system(command) == 0);
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
}

/* The same, and seals the file anew. Collective. */
static void edit(const char *path, const char *from, const char *to) {
  change(path, from, to);
  if (world.rank == 0) {
    json_t *root;
    bool whole;
    EXPECT_OK(sb_sealed_read(path, &root, &whole));
    EXPECT(!whole);
    EXPECT_OK(sb_sealed_write(path, root));
    json_decref(root);
  }
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
}

static void round_trip(void **state) {
  const golden_setup setup = {.name = "gqa-tied", GOLDEN_DEFAULTS};
  golden g;
  sb_search_checkpoint checkpoint;
  sb_search_progress progress = {0};
  bool resumes = true;
  (void)state;
  scratch_begin();
  golden_open(&g, &setup);
  const char *path = scratch_path("search");
  const sb_key key = key_on(&g, "cpu", SB_F32, 2.5);
  golden_mixed_bits(g.model, 1, 8, 3);

  EXPECT_OK(sb_search_checkpoint_open(path, &key, g.model, &progress, &resumes, &checkpoint));
  EXPECT(!resumes && progress.steps == 0);
  EXPECT_OK(sb_search_checkpoint_write(&checkpoint, &some));
  golden_mixed_bits(g.model, 1, 8, 4);
  EXPECT_OK(sb_search_checkpoint_open(path, &key, g.model, &progress, &resumes, &checkpoint));
  EXPECT(resumes && progress.steps == some.steps && progress.strides == some.strides &&
         progress.trades == some.trades && progress.accepted == some.accepted &&
         progress.gain_passes == some.gain_passes && progress.loss_passes == some.loss_passes &&
         progress.share == some.share && progress.loss == some.loss &&
         progress.start_loss == some.start_loss);
  for (size_t k = 0; k < g.model->blocks; k++) EXPECT(g.model->bits[k] == 1 + mix(3 + k) % 8);
  golden_close(&g);
  scratch_end();
  all_ranks_passed();
}

static void refusals(void **state) {
  const golden_setup setup = {.name = "gqa-tied", GOLDEN_DEFAULTS},
                     other = {.name = "mha-untied", GOLDEN_DEFAULTS};
  golden g, h;
  sb_search_checkpoint checkpoint;
  sb_search_progress progress;
  bool resumes;
  (void)state;
  scratch_begin();
  golden_open(&g, &setup);
  golden_open(&h, &other);
  golden_mixed_bits(g.model, 1, 8, 3);
  const char *path = scratch_path("search");
  const sb_key key = key_on(&g, "cuda", SB_F32, 2.5), on_cpu = key_on(&g, "cpu", SB_F32, 2.5),
               in_bf16 = key_on(&g, "cuda", SB_BF16, 2.5),
               richer = key_on(&g, "cuda", SB_F32, 2.75),
               of_other = key_on(&h, "cuda", SB_F32, 2.5);
  EXPECT_OK(sb_search_checkpoint_open(path, &key, g.model, &progress, &resumes, &checkpoint));
  EXPECT_OK(sb_search_checkpoint_write(&checkpoint, &some));

  expect_refused(&g, path, &on_cpu, SB_ERR_FORMAT, "another --device: cuda there, cpu here");
  expect_refused(&g, path, &in_bf16, SB_ERR_FORMAT, "another --compute: f32 there, bf16 here");
  expect_refused(&g, path, &richer, SB_ERR_FORMAT, "another budget (--bits): 2.5 there, 2.75 here");
  expect_refused(&h, path, &of_other, SB_ERR_FORMAT, "another model");
  change(path, "\"steps\": 5", "\"steps\": 6");
  expect_refused(&g, path, &key, SB_ERR_FORMAT, "damaged: its checksum does not fit; remove it");
  edit(path, "\"steps\": 6", "\"steps\": -5");
  expect_refused(&g, path, &key, SB_ERR_FORMAT, "damaged: it does not say how far");
  edit(path, "\"steps\": -5", "\"steps\": 5");
  edit(path, "\"bits\": \"[1-8]\\([1-8]\\)", "\"bits\": \"9\\1");
  expect_refused(&g, path, &key, SB_ERR_FORMAT, "damaged: block 0 has '9' bits");
  edit(path, "\"bits\": \"9", "\"bits\": \"");
  expect_refused(&g, path, &key, SB_ERR_FORMAT, "damaged: has ");
  edit(path, "\"device\"", "\"devise\"");
  expect_refused(&g, path, &key, SB_ERR_FORMAT, "another --device: none there, cuda here");
  edit(path, "\"version\": [0-9]*", "\"version\": 0");
  expect_refused(&g, path, &key, SB_ERR_UNSUPPORTED, "version 0, this program reads ");
  EXPECT(strstr(sb_message(), "; give it the same, or another --checkpoint") != NULL);
  golden_close(&g);
  golden_close(&h);
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(refusals)};

RANKS_MAIN(tests)
