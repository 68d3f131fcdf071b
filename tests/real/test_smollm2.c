/* Logits and loss of SmolLM2-135M-Instruct on 512 tokens, in float32, against Hugging Face
 * transformers (tests/golden/smollm2, made by tools/make_golden.py). Every rank takes the same
 * sequence through the model. */
#include "folders/hf_load.h"
#include "tests/support/ranks.h"

#include <jansson.h>
#include <math.h>

#include "io/file.h"
#include "io/tokens.h"
#include "pass/pass.h"

enum { T = 512, PROBES = 5 };
/* What the program promises. Both sides sum in float32, in an order of their own, through 30
 * layers; measured differences are 6e-5 and less. */
static const double logit_tolerance = 1e-3;
/* Such differences have no common sign, so the mean over 511 tokens is
 * better: measured is 2.7e-7. */
static const double loss_tolerance = 5e-6;

static const char *folder; /* of the model */

static json_t *expectation(void) {
  json_t *json = json_load_file(SB_SOURCE_DIR "/tests/golden/smollm2/expect.json", 0, NULL);
  EXPECT(json != NULL);
  return json;
}

static void read_tokens(uint32_t *ids, size_t vocab) {
  sb_tokens *tokens = NULL;
  EXPECT_OK(sb_tokens_open(SB_SOURCE_DIR "/tests/golden/smollm2/tokens.bin", SB_TOKENS_U16, vocab,
                           &tokens));
  EXPECT_OK(sb_tokens_read(tokens, 0, T, ids));
  sb_tokens_close(&tokens);
}

static void against_probes(const float *logits, size_t vocab) {
  json_t *expected = expectation();
  const json_t *positions = json_object_get(expected, "positions"),
               *best = json_object_get(expected, "argmax");
  char *data = NULL;
  size_t bytes = 0;
  EXPECT_OK(sb_file_read_all(SB_SOURCE_DIR "/tests/golden/smollm2/logits_probe.bin", 1 << 24, &data,
                             &bytes));
  EXPECT(bytes == PROBES * vocab * sizeof(float) && json_array_size(positions) == PROBES);
  for (size_t i = 0; i < PROBES && bytes == PROBES * vocab * sizeof(float); i++) {
    const float *ours = logits + (size_t)json_integer_value(json_array_get(positions, i)) * vocab;
    const float *theirs = (const float *)data + i * vocab;
    double worst = 0;
    size_t largest = 0;
    for (size_t v = 0; v < vocab; v++) {
      worst = fmax(worst, fabs((double)ours[v] - (double)theirs[v]));
      if (ours[v] > ours[largest]) largest = v;
    }
    if (world.rank == 0) print_message("probe %zu: largest difference %.2g\n", i, worst);
    EXPECT(worst < logit_tolerance);
    EXPECT(largest == (size_t)json_integer_value(json_array_get(best, i)));
  }
  sb_free(&data);
  json_decref(expected);
}

static void logits_and_loss(void **state) {
  const sb_blocking blocking = {128, 128, SB_GRID_ASYMMETRIC};
  sb_backend *backend = NULL;
  sb_model *model = NULL;
  sb_pass *pass = NULL;
  uint32_t ids[T] = {0};
  double loss = NAN;
  (void)state;
  EXPECT_OK(sb_backend_cpu_create(SB_COMPUTE_F32, 1, &backend));
  EXPECT_OK(sb_hf_load(&world, folder, blocking, true, &model));
  const size_t vocab = model->config.vocab;
  read_tokens(ids, vocab);
  const sb_pass_setup setup = {.model = model,
                               .backend = backend,
                               .tokens = ids,
                               .sequences = (size_t)world.size,
                               .seqlen = T,
                               .activation_bytes = (size_t)1 << 30};
  EXPECT_OK(sb_pass_create(&setup, &pass));
  float *logits = calloc(T * vocab, sizeof *logits);
  EXPECT_OK(sb_pass_logits(pass, 0, logits));
  against_probes(logits, vocab);
  free(logits);
  EXPECT_OK(sb_pass_loss(pass, &loss));
  json_t *expected = expectation();
  const double theirs = json_real_value(json_object_get(expected, "loss"));
  if (world.rank == 0) print_message("loss %.9f, transformers %.9f\n", loss, theirs);
  EXPECT(fabs(loss - theirs) < loss_tolerance);
  json_decref(expected);
  sb_pass_free(&pass);
  sb_model_free(&model);
  backend->op->destroy(backend);
  all_ranks_passed();
}

/* As RANKS_MAIN, but without the model there is nothing to run. */
int main(int argc, char **argv) {
  static const struct CMUnitTest tests[] = {cmocka_unit_test(logits_and_loss)};
  char path[1024];
  int failed = 1;
  if (sb_world_init(&argc, &argv, &world) != SB_OK) {
    fprintf(stderr, "%s\n", sb_message());
    sb_world_finalize(&world);
    return 1;
  }
  folder = getenv("SHARDBITS_SMOLLM2");
  snprintf(path, sizeof path, "%s/config.json", folder ? folder : "");
  FILE *there = folder ? fopen(path, "rb") : NULL;
  if (there) {
    fclose(there);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
  } else if (world.rank == 0) {
    fprintf(stderr,
            "no model: SHARDBITS_SMOLLM2 is %s; it must name the folder that tools/get_smollm2.sh "
            "makes\n",
            folder ? folder : "not set");
  }
  sb_world_finalize(&world);
  return failed != 0;
}
