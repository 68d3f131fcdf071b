/* Checksums of the gradients of a pass, one for each sequence, whatever rank has it. */
#ifndef SB_TESTS_SUPPORT_GRADIENT_CHECKSUMS_H
#define SB_TESTS_SUPPORT_GRADIENT_CHECKSUMS_H

#include <stdlib.h>

#include "pass/pass.h"
#include "tests/support/assertions.h"
#include "tests/support/random.h"

typedef struct gradient_checksums {
  const sb_model *model;
  sb_backend *backend;
  uint64_t *of;            /* [sequences] of all matrices, last layer first; the caller's, 0 */
  size_t wave_first, next; /* local sequences, while they are filled */
} gradient_checksums;

/* Number in the batch of a rank's sequence number `local`. */
static inline size_t sequence_of(const sb_world *of, size_t local) {
  return local * (size_t)of->size + (size_t)of->rank;
}

static inline sb_status checksums_begin_layer(void *context, sb_stream stream, size_t layer,
                                              const sb_device_layer *prepared) {
  gradient_checksums *c = context;
  (void)stream, (void)layer, (void)prepared;
  c->next = c->wave_first;
  return SB_OK;
}

static inline sb_status checksums_matrix(void *context, sb_stream stream, size_t layer,
                                         size_t which, const float *g) {
  gradient_checksums *c = context;
  const sb_backend_ops *op = c->backend->op;
  const sb_matrix *matrix = sb_model_matrix(c->model, layer, which);
  const size_t count = matrix->tiling.rows * matrix->tiling.cols;
  uint64_t *sum = &c->of[sequence_of(c->model->world, c->next)];
  float *values = malloc(count * sizeof *values);
  EXPECT_OK(op->download(c->backend, stream, values, g, count * sizeof *values));
  EXPECT_OK(op->sync(c->backend, stream));
  *sum = checksum(mix(*sum + matrix->first_block), values, count);
  free(values);
  return SB_OK;
}

static inline sb_status checksums_end_sequence(void *context, sb_stream stream, size_t layer) {
  (void)stream, (void)layer;
  ((gradient_checksums *)context)->next++;
  return SB_OK;
}

static inline sb_status checksums_end_layer(void *context, size_t layer) {
  gradient_checksums *c = context;
  if (layer == 0) c->wave_first = c->next;
  return SB_OK;
}

/* A gradient pass over `sequences` of all ranks. Entries of sequences that are not this rank's stay
 * as they are. */
static inline void gradient_checksums_measure(gradient_checksums *c, sb_pass *pass,
                                              size_t sequences, double *loss) {
  const sb_pass_hooks hooks = {.context = c,
                               .begin_layer = checksums_begin_layer,
                               .matrix = checksums_matrix,
                               .end_sequence = checksums_end_sequence,
                               .end_layer = checksums_end_layer};
  c->wave_first = 0;
  EXPECT_OK(sb_pass_gradients(pass, &hooks, loss));
  EXPECT(c->wave_first == sb_pass_local(c->model->world, sequences));
}

#endif
