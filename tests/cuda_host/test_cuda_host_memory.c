/* A pass on a device that has too little memory takes fewer sequences at a time, then leaves inputs
 * of layers to the host, says so, and computes the same. So does rounding, which has all sequences
 * at all times. */
#include "tests/support/golden.h"

#include <stdint.h>
#include <xxhash.h>

#include "base/log.h"
#include "pass/layerwise.h"
#include "quant/gptq.h"
#include "tests/cuda_host/cuda_host.h"

typedef struct gradients {
  golden *g;
  uint64_t hash; /* a sum over all, so the order in which waves show them does not matter */
  size_t count;
} gradients;

static sb_status take(void *context, sb_stream stream, size_t layer, size_t which,
                      const float *dw) {
  gradients *t = context;
  sb_backend *b = t->g->backend;
  const sb_tiling *tiling = &sb_model_matrix(t->g->model, layer, which)->tiling;
  const size_t count = tiling->rows * tiling->cols;
  float *host = malloc(count * sizeof *host);
  EXPECT_OK(b->op->download(b, stream, host, dw, count * sizeof *host));
  EXPECT_OK(b->op->sync(b, stream));
  t->hash += XXH3_64bits_withSeed(host, count * sizeof *host, layer * 7 + which);
  t->count++;
  free(host);
  return SB_OK;
}

typedef struct outcome {
  double loss, again; /* of a forward pass alone, and beside the gradients */
  uint64_t hash;
  size_t used; /* device memory, bytes */
  char log[1024];
} outcome;

static outcome run_with(size_t memory, size_t sequences) {
  const size_t all = (size_t)1 << 30;
  outcome o = {0};
  golden g;
  FILE *stream = fmemopen(o.log, sizeof o.log, "w");
  sb_log_open_to(stream, true);
  sb_cuda_host_device.memory = memory ? memory : all;
  golden_open(
      &g, &(golden_setup){
              .name = "sharded-f16", .sequences = sequences, .gradients = true, GOLDEN_DEFAULTS});
  o.used = sb_cuda_host_device.in_use;
  sb_cuda_host_device.memory = all; /* for what kernels need in between */
  gradients t = {.g = &g};
  const sb_pass_hooks hooks = {.context = &t,
                               .begin_layer = golden_begin_layer,
                               .matrix = take,
                               .end_sequence = golden_end_sequence,
                               .end_layer = golden_end_layer};
  EXPECT_OK(sb_pass_loss(g.pass, &o.loss)); /* what it keeps, the gradients take */
  EXPECT_OK(sb_pass_gradients(g.pass, &hooks, &o.again));
  EXPECT(t.count == sequences * g.model->arch.matrix_count);
  o.hash = t.hash;
  golden_close(&g);
  EXPECT(sb_cuda_host_device.in_use == 0);
  sb_log_open(false);
  fclose(stream);
  return o;
}

static void same(const outcome *a, const outcome *b) {
  EXPECT(a->loss == b->loss && a->again == b->again);
  EXPECT(a->hash == b->hash);
}

static void fewer_sequences_at_a_time(void **state) {
  (void)state;
  const outcome all = run_with(0, 2);
  EXPECT(strstr(all.log, "do not fit") == NULL);
  EXPECT(all.again == all.loss);
  const outcome less = run_with(all.used - 1, 2);
  same(&less, &all);
  EXPECT(less.used < all.used);
  EXPECT(strstr(less.log, "1 sequences at a time") != NULL);
  EXPECT(strstr(less.log, "do not fit") != NULL);
  EXPECT(strstr(less.log, "on the host") == NULL);
  all_ranks_passed();
}

static void inputs_on_the_host(void **state) {
  (void)state;
  const outcome one = run_with(0, 1);
  const outcome host = run_with(one.used - 1, 1);
  same(&host, &one);
  EXPECT(host.used < one.used);
  EXPECT(strstr(host.log, "inputs of layers are kept on the host") != NULL);
  EXPECT(strstr(host.log, "do not fit") != NULL);
  all_ranks_passed();
}

/* ---- all sequences, layer by layer (pass/layerwise.h) ---- */

typedef struct inputs {
  golden *g;
  size_t layer;
  uint64_t hash;
  size_t count;
} inputs;

static sb_status take_input(void *context, sb_stream stream, size_t input, const void *x) {
  inputs *t = context;
  sb_backend *b = t->g->backend;
  const sb_arch *arch = &t->g->model->arch;
  const size_t count = t->g->sequences.seqlen * sb_arch_input_of(arch, t->layer, input)->width;
  float *host = malloc(count * sizeof *host);
  EXPECT_OK(b->op->download(b, stream, host, x, count * sizeof *host));
  EXPECT_OK(b->op->sync(b, stream));
  t->hash += XXH3_64bits_withSeed(host, count * sizeof *host, ++t->count);
  free(host);
  return SB_OK;
}

static void through_layer(golden *g, sb_layerwise *sequences, sb_device_layer *prepared,
                          inputs *t) {
  sb_model *m = g->model;
  sb_backend *b = g->backend;
  const size_t group = m->layer_first + t->layer;
  const sb_layer_hooks hooks = {.context = t, .input = take_input};
  const void *image;
  EXPECT_OK(sb_store_acquire(m->store, group, &image));
  EXPECT_OK(sb_device_layer_load(prepared, sb_layerwise_stream(sequences), t->layer, image));
  for (size_t s = 0; s < sb_layerwise_local(sequences); s++) {
    EXPECT_OK(sb_layerwise_observe(sequences, prepared, s, &hooks));
    EXPECT_OK(sb_layerwise_advance(sequences, prepared, s));
  }
  EXPECT_OK(b->op->sync(b, sb_layerwise_stream(sequences)));
  EXPECT_OK(sb_store_release(m->store, group));
}

/* The hash of what goes into all matrices, with so much device memory for the sequences (0: any);
 * *used: what they took. */
static uint64_t go_layerwise(golden *g, size_t memory, bool on_host, size_t *used) {
  const size_t all = (size_t)1 << 30, before = sb_cuda_host_device.in_use;
  sb_layerwise *sequences = NULL;
  sb_device_layer *prepared = NULL;
  inputs t = {.g = g};
  sb_cuda_host_device.memory = memory ? memory : all;
  EXPECT_OK(sb_layerwise_create(g->model, g->backend, &g->sequences, &sequences));
  *used = sb_cuda_host_device.in_use - before;
  sb_cuda_host_device.memory = all;
  EXPECT(sb_layerwise_local(sequences) == 2 && sb_layerwise_on_host(sequences) == on_host);
  EXPECT_OK(sb_device_layer_create(g->model, g->backend, false, &prepared));
  EXPECT_OK(sb_layerwise_embed(sequences, g->model));
  for (t.layer = 0; t.layer < g->model->config.layers; t.layer++)
    through_layer(g, sequences, prepared, &t);
  EXPECT(t.count == 2 * 4 * g->model->config.layers);
  sb_device_layer_free(&prepared);
  sb_layerwise_free(&sequences);
  EXPECT(sb_cuda_host_device.in_use == before);
  return t.hash;
}

/* No sequence is left out where memory is short: the host has them, or there is an error. */
static void rounding_has_all_sequences(void **state) {
  (void)state;
  golden g;
  size_t all, less;
  golden_open(&g, &(golden_setup){.name = "sharded-f16", GOLDEN_DEFAULTS});
  sb_pass_free(&g.pass);
  const size_t before = sb_cuda_host_device.in_use;
  const uint64_t hash = go_layerwise(&g, 0, false, &all);
  EXPECT(go_layerwise(&g, before + all - 1, true, &less) == hash);
  EXPECT(less < all);

  golden_mixed_bits(g.model, 2, 4, 1);
  const sb_gptq_options options = {.damping = 0.01, .factor = SB_FACTOR_REPLICATED};
  sb_gptq_stats stats;
  sb_model *coded = NULL;
  sb_cuda_host_device.memory = before + less - 1;
  EXPECT(sb_gptq(g.model, g.backend, &g.sequences, &options, &coded, &stats) == SB_ERR_MEMORY);
  EXPECT(strstr(sb_message(), "do not fit") != NULL);
  EXPECT(coded == NULL && sb_cuda_host_device.in_use == before);
  sb_cuda_host_device.memory = (size_t)1 << 30;
  golden_close(&g);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(fewer_sequences_at_a_time),
                                          cmocka_unit_test(inputs_on_the_host),
                                          cmocka_unit_test(rounding_has_all_sequences)};
RANKS_MAIN(tests)
