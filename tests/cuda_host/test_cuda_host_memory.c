/* A pass on a device that has too little memory takes fewer sequences at a time, then leaves inputs
 * of layers to the host, says so, and computes the same. */
#include "tests/support/golden.h"

#include <stdint.h>
#include <xxhash.h>

#include "base/log.h"
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
  t->hash += XXH3_64bits_withSeed(host, count * sizeof *host, layer * SB_LINEARS + (size_t)which);
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
  EXPECT(t.count == sequences * g.model->config.layers * SB_LINEARS);
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
  EXPECT(all.log[0] == 0);
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

static const struct CMUnitTest tests[] = {cmocka_unit_test(fewer_sequences_at_a_time),
                                          cmocka_unit_test(inputs_on_the_host)};
RANKS_MAIN(tests)
