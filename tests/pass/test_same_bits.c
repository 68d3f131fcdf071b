/* The loss, and every logit and gradient of every sequence, have the same bits for any number of
 * ranks, threads and sequences in a wave, and whatever is kept from the way forward. What they are
 * held against is computed by each rank for itself, as a world of one. */
#include "folders/hf_load.h"
#include "tests/support/golden.h"

/* Five windows of 19 of the golden tokens: unequal shares on 2, 3 and 4 ranks, and nothing for two
 * of 7. */
enum { T = 19, SEQUENCES = 5 };

typedef struct way { /* of running a pass */
  const sb_world *world;
  int threads;
  size_t activation_bytes;
  sb_compute compute;
  size_t keep_bytes;
} way;

typedef struct outcome {
  double loss, loss_alone; /* of the pass with gradients, and of one for the loss alone */
  uint64_t logits[SEQUENCES];
  uint64_t gradients[SEQUENCES]; /* of all matrices, last layer first */
  size_t wave_first, next;       /* local sequences, while it is filled */
  const sb_world *world;
  const sb_model *model;
} outcome;

static uint64_t checksum(uint64_t sum, const float *x, size_t count) {
  for (size_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, &x[i], sizeof bits);
    sum = mix(sum ^ bits);
  }
  return sum;
}

static size_t sequence_of(const outcome *o, size_t local) {
  return local * (size_t)o->world->size + (size_t)o->world->rank;
}

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  outcome *o = context;
  (void)stream, (void)layer, (void)prepared;
  o->next = o->wave_first;
  return SB_OK;
}

static sb_status matrix(void *context, sb_stream stream, size_t layer, size_t which,
                        const float *g) {
  outcome *o = context;
  const sb_matrix *mine = sb_model_matrix(o->model, layer, which);
  (void)stream;
  uint64_t *sum = &o->gradients[sequence_of(o, o->next)];
  *sum = checksum(mix(*sum + mine->first_block), g, mine->tiling.rows * mine->tiling.cols);
  return SB_OK;
}

static sb_status end_sequence(void *context, sb_stream stream, size_t layer) {
  (void)stream, (void)layer;
  ((outcome *)context)->next++;
  return SB_OK;
}

static sb_status end_layer(void *context, size_t layer) {
  outcome *o = context;
  if (layer == 0) o->wave_first = o->next;
  return SB_OK;
}

static void gradients(sb_pass *pass, outcome *out) {
  const sb_pass_hooks hooks = {.context = out,
                               .begin_layer = begin_layer,
                               .matrix = matrix,
                               .end_sequence = end_sequence,
                               .end_layer = end_layer};
  out->wave_first = 0;
  EXPECT_OK(sb_pass_gradients(pass, &hooks, &out->loss));
  EXPECT(out->wave_first == sb_pass_local(out->world, SEQUENCES));
}

static void logits(sb_pass *pass, outcome *out) {
  const size_t count = T * out->model->config.vocab;
  float *values = calloc(count, sizeof *values);
  for (size_t i = 0; i * (size_t)out->world->size < SEQUENCES; i++) {
    EXPECT_OK(sb_pass_logits(pass, i, values));
    if (sequence_of(out, i) < SEQUENCES)
      out->logits[sequence_of(out, i)] = checksum(0, values, count);
  }
  free(values);
}

/* Entries of sequences that are not this rank's stay 0. */
static void run(const char *name, const way *w, outcome *out) {
  char folder[1024], path[2048];
  sb_backend *backend = NULL;
  sb_model *model = NULL;
  sb_sequences sequences = {0};
  sb_pass *pass = NULL;
  memset(out, 0, sizeof *out);
  snprintf(folder, sizeof folder, "%s/tests/golden/%s", SB_SOURCE_DIR, name);
  snprintf(path, sizeof path, "%s/tokens.bin", folder);
  EXPECT_OK(sb_backend_cpu_create(w->compute, w->threads, &backend));
  EXPECT_OK(sb_hf_load(w->world, folder, (sb_blocking){16, 32, SB_ASYMMETRIC}, true, &model));
  EXPECT_OK(
      sb_sequences_read(w->world, path, SB_TOKENS_U16, model->config.vocab, T, 0, 0, &sequences));
  EXPECT(sequences.count == SEQUENCES);
  golden_mixed_bits(model, 0, 8, 3);
  const sb_pass_setup setup = {.model = model,
                               .backend = backend,
                               .tokens = sequences.tokens,
                               .sequences = SEQUENCES,
                               .seqlen = T,
                               .gradients = true,
                               .activation_bytes = w->activation_bytes,
                               .keep_bytes = w->keep_bytes};
  EXPECT_OK(sb_pass_create(&setup, &pass));
  out->world = w->world;
  out->model = model;
  /* gradients after a loss use its forward part, but not when something else came between */
  EXPECT_OK(sb_pass_loss(pass, &out->loss_alone));
  logits(pass, out);
  gradients(pass, out);
  EXPECT_OK(sb_pass_loss(pass, &out->loss_alone));
  gradients(pass, out);
  sb_pass_free(&pass);
  sb_sequences_free(&sequences);
  sb_model_free(&model);
  backend->op->destroy(backend);
}

static void compare(const char *name, const outcome *expected, const way *w, const char *how) {
  outcome got;
  run(name, w, &got);
  bool same = got.loss == expected->loss && got.loss_alone == expected->loss;
  for (size_t i = 0; i < sb_pass_local(w->world, SEQUENCES); i++) {
    const size_t s = sequence_of(&got, i);
    same =
        same && got.logits[s] == expected->logits[s] && got.gradients[s] == expected->gradients[s];
    same = same && got.logits[s] != 0 && got.gradients[s] != 0;
  }
  if (!same) print_error("%s: other bits with %s\n", name, how);
  EXPECT(same);
}

static void check(sb_compute compute) {
  const sb_world *alone = world_alone();
  const size_t plenty = (size_t)1 << 30;
  for (size_t i = 0; i < GOLDENS; i++) {
    const char *name = golden_names[i];
    outcome expected;
    run(name, &(way){alone, 1, plenty, compute, 0}, &expected);
    EXPECT(expected.loss == expected.loss_alone && expected.logits[0] != expected.logits[1]);
    EXPECT(expected.gradients[0] != expected.gradients[1]);
    compare(name, &expected, &(way){&world, 1, plenty, compute, 0}, "these ranks");
    compare(name, &expected, &(way){&world, 2, plenty, compute, plenty},
            "these ranks, 2 threads, all kept");
    compare(name, &expected, &(way){&world, 1, 1, compute, 120000},
            "these ranks, one sequence a wave, something kept");
    compare(name, &expected, &(way){alone, 3, 50000, compute, 0},
            "3 threads, few sequences a wave");
  }
}

static void in_f32(void **state) {
  (void)state;
  check(SB_COMPUTE_F32);
  all_ranks_passed();
}

static void in_bf16(void **state) {
  (void)state;
  sb_backend *backend = NULL;
  if (sb_backend_cpu_create(SB_COMPUTE_BF16, 1, &backend) == SB_OK) {
    backend->op->destroy(backend);
    check(SB_COMPUTE_BF16);
  } else {
    print_message("skipped: %s\n", sb_message());
  }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(in_f32), cmocka_unit_test(in_bf16)};
RANKS_MAIN(tests)
