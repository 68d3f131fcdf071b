/* What any command would refuse, `verify` finds. An output folder is changed in one of many ways:
 * bytes of its manifest and shards, values of its manifest, contents and sizes of frames with all
 * checksums as they must be. Where loading it, a pass over tokens or an export is refused, so is
 * verifying it; and nothing of all this ends the program.
 *
 * One thing is beyond verifying: finite weights whose products overflow with certain tokens.
 * Changes keep stored numbers moderate, or make them NaN or infinite. */
#include <sys/stat.h>

#include "folders/export.h"
#include "tests/folders/mutations.h"
#include "tests/support/golden.h"
#include "tests/support/random_orders.h"
#include "tests/support/shared_scratch.h"

enum { MUTATIONS = 80 }; /* of each kind, on one rank */

/* ---- what commands do with it ---- */

/* `packed`: as with --compute packed. */
static sb_status evaluate(const char *folder, const char *tokens, bool packed,
                          sb_backend *backend) {
  sb_model *model = NULL;
  sb_sequences sequences = {0};
  sb_pass *pass = NULL;
  double loss;
  sb_status status = sb_output_load(&world, folder, &model);
  SB_THEN(
      sb_sequences_read(&world, tokens, SB_TOKENS_U16, model->config.vocab, 16, 1, 0, &sequences));
  if (status == SB_OK) {
    const sb_pass_setup setup = {.model = model,
                                 .backend = backend,
                                 .tokens = sequences.tokens,
                                 .sequences = sequences.count,
                                 .seqlen = 16,
                                 .keep_packed = packed,
                                 .activation_bytes = (size_t)1 << 30};
    status = sb_pass_create(&setup, &pass);
  }
  SB_THEN(sb_pass_loss(pass, &loss));
  sb_pass_free(&pass);
  sb_sequences_free(&sequences);
  if (model) sb_model_free(&model);
  return status;
}

static sb_status export_it(const char *folder, const char *to) {
  sb_model *model = NULL;
  sb_destination out = {0};
  sb_hf_folder_stats stats;
  sb_status status = sb_output_load(&world, folder, &model);
  SB_THEN(sb_destination_begin(&world, to, true, folder, &out));
  SB_THEN(sb_export_dequantized(model, folder, &out, SB_BF16, 1 << 30, SB_NO_TICKER, &stats));
  sb_destination_end(&out);
  if (model) sb_model_free(&model);
  return status;
}

typedef void (*mutator)(const char *folder, uint64_t *s);

/* Mutations that were refused by some command, by verifying. */
typedef struct tally {
  int refused, found;
} tally;

static void try_one(mutator change, const char *good, const char *tokens, sb_backend *backend,
                    uint64_t seed, tally *t) {
  const char *bad = scratch_path("bad");
  const bool packed = seed % 2;
  char why[400] = "";
  sb_output_stats stats;
  if (world.rank == 0) {
    copy_folder(good, bad);
    change(bad, &seed);
  }
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  const sb_status verified = sb_output_verify(&world, bad, SB_NO_TICKER, &stats);
  const sb_status exported = export_it(bad, scratch_path("exported"));
  if (exported != SB_OK) snprintf(why, sizeof why, "export: %s", sb_message());
  const sb_status evaluated = evaluate(bad, tokens, packed, backend);
  if (evaluated != SB_OK) snprintf(why, sizeof why, "eval: %s", sb_message());
  EXPECT(exported != SB_ERR_INTERNAL && evaluated != SB_ERR_INTERNAL);
  EXPECT(strlen(why) < 300);
  t->refused += exported != SB_OK || evaluated != SB_OK;
  t->found += verified != SB_OK;
  if (verified == SB_OK && (exported != SB_OK || evaluated != SB_OK)) {
    print_error("verify passes what is refused: %s\n", why);
    EXPECT(verified != SB_OK);
  }
}

/* Written by rank 0. Collective. */
static void make_good(const char *good, sb_code_kind kind, bool indexed, uint64_t seed) {
  golden g;
  sb_orders orders = {0};
  sb_output_stats stats;
  golden_setup setup = {.name = "gqa-tied", .world = world_alone(), GOLDEN_DEFAULTS};
  setup.blocking.code_kind = kind;
  if (world.rank == 0) {
    golden_open(&g, &setup);
    if (indexed) EXPECT_OK(random_indexed(&g.model->arch, 16, 32, 3, &orders));
    golden_close(&g);
    if (indexed) setup.orders = &orders;
    golden_open(&g, &setup);
    golden_mixed_bits(g.model, 1, 8, seed);
    golden_write(&g, good, &stats);
    golden_close(&g);
    sb_orders_free(&orders);
  }
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
}

static void check_all(sb_code_kind kind, bool indexed, uint64_t seed) {
  static const mutator kinds[] = {change_bytes, change_manifest, change_frame, change_index};
  sb_output_stats stats;
  char tokens[2048], good[1024];
  snprintf(good, sizeof good, "%s", scratch_path("good"));
  make_good(good, kind, indexed, seed);
  golden whole;
  golden_open(&whole, &(golden_setup){.name = "gqa-tied", .output = good, GOLDEN_DEFAULTS});
  golden_path(&whole, "tokens.bin", tokens);
  EXPECT_OK(sb_output_verify(&world, good, SB_NO_TICKER, &stats));
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    tally t = {0};
    const int most = MUTATIONS / world.size;
    for (int i = 0; i < most; i++)
      try_one(kinds[k], good, tokens, whole.backend, mix(seed + 1000 * k + (uint64_t)i), &t);
    EXPECT(t.refused > most / 4 && t.found >= t.refused); /* the test must be able to fail */
    if (world.rank == 0)
      print_message("kind %zu: %d of %d refused, %d found by verify\n", k, t.refused, most,
                    t.found);
  }
  golden_close(&whole);
}

/* A small file that claims much: a frame (orders are the last ones) is said to have 6 GB. It is
 * refused for its size, before memory is taken. */
static void claimed_sizes(void **state) {
  (void)state;
  char good[1024];
  sb_output_stats stats;
  scratch_begin();
  snprintf(good, sizeof good, "%s", scratch_path("good"));
  make_good(good, SB_GRID_ASYMMETRIC, true, 5);
  for (size_t from_end = 1; from_end <= 40; from_end++) {
    const char *bad = scratch_path("bad");
    if (world.rank == 0) {
      copy_folder(good, bad);
      claim(bad, from_end);
    }
    EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
    EXPECT(sb_output_verify(&world, bad, SB_NO_TICKER, &stats) == SB_ERR_FORMAT);
    EXPECT(strstr(sb_message(), " has 6000000000 bytes") != NULL);
    EXPECT(export_it(bad, scratch_path("exported")) == SB_ERR_FORMAT);
    EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  }
  EXPECT(sb_peak_resident() < (size_t)1 << 30);
  scratch_end();
  all_ranks_passed();
}

/* A side file that an export could not copy. Root can read everything, so it is somebody else for
 * the while. */
static void side_files(void **state) {
  (void)state;
  char good[1024], path[1100];
  sb_output_stats stats;
  scratch_begin();
  snprintf(good, sizeof good, "%s", scratch_path("good"));
  make_good(good, SB_GRID_ASYMMETRIC, false, 1);
  path_in(path, good, "tokenizer.model");
  if (world.rank == 0) {
    put_text(path, "some");
    EXPECT(chmod(scratch, 0777) == 0);
  }
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  EXPECT_OK(sb_output_verify(&world, good, SB_NO_TICKER, &stats));
  if (world.rank == 0) EXPECT(chmod(path, 0) == 0);
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  const bool root = geteuid() == 0;
  if (root) EXPECT(seteuid(65534) == 0);
  EXPECT(export_it(good, scratch_path("exported")) == SB_ERR_IO);
  EXPECT(sb_output_verify(&world, good, SB_NO_TICKER, &stats) == SB_ERR_IO);
  EXPECT(strstr(sb_message(), "tokenizer.model: cannot be read") != NULL);
  if (root) EXPECT(seteuid(0) == 0);
  scratch_end();
  all_ranks_passed();
}

static void plain(void **state) {
  (void)state;
  scratch_begin();
  check_all(SB_GRID_ASYMMETRIC, false, 1);
  scratch_end();
  all_ranks_passed();
}

static void with_orders(void **state) {
  (void)state;
  scratch_begin();
  check_all(SB_GRID_ASYMMETRIC, true, 2);
  scratch_end();
  all_ranks_passed();
}

static void trellis(void **state) {
  (void)state;
  scratch_begin();
  check_all(SB_TRELLIS_12, true, 3);
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(plain), cmocka_unit_test(with_orders), cmocka_unit_test(trellis),
    cmocka_unit_test(claimed_sizes), cmocka_unit_test(side_files)};
RANKS_MAIN(tests)
