#include "quant/layer_errors.h"

#include <math.h>

#include "base/dtype.h"
#include "base/memory.h"
#include "mpi/exact.h"
#include "mpi/large.h"

/* Sequence s of a rank is number s * ranks + rank of all (pass/wave.h). */
static size_t looked_at(const sb_world *world, size_t local) {
  size_t count = 0;
  while (count < local &&
         count * (size_t)world->size + (size_t)world->rank < SB_LAYER_ERROR_SEQUENCES)
    count++;
  return count;
}

static size_t tokens_of(size_t seqlen) {
  return sb_min_size(seqlen, SB_LAYER_ERROR_TOKENS);
}

size_t sb_layer_errors_bytes(size_t local, size_t seqlen, size_t hidden, size_t act) {
  const size_t states = tokens_of(seqlen) * hidden;
  local = sb_min_size(local, SB_LAYER_ERROR_SEQUENCES);
  return states * act + (1 + local) * states * sizeof(float) + 2 * local * sizeof(double);
}

sb_status sb_layer_errors_create(const sb_world *world, sb_backend *b, sb_layerwise *sequences,
                                 size_t seqlen, size_t hidden, sb_layer_errors *out) {
  const size_t local = looked_at(world, sb_layerwise_local(sequences)), tokens = tokens_of(seqlen),
               states = tokens * hidden;
  *out = (sb_layer_errors){.world = world,
                           .backend = b,
                           .sequences = sequences,
                           .seqlen = seqlen,
                           .tokens = tokens,
                           .hidden = hidden,
                           .local = local};
  SB_TRY(sb_alloc(&out->states, states, sb_dtype_size(b->act), "states of layers"));
  SB_TRY(sb_alloc(&out->input, states, sizeof *out->input, "states of layers"));
  SB_TRY(sb_alloc(&out->output, local * states, sizeof *out->output, "states of layers"));
  SB_TRY(sb_alloc(&out->added, local, sizeof *out->added, "errors of layers"));
  return sb_alloc(&out->error, local, sizeof *out->error, "errors of layers");
}

void sb_layer_errors_free(sb_layer_errors *e) {
  sb_free(&e->states);
  sb_free(&e->input);
  sb_free(&e->output);
  sb_free(&e->added);
  sb_free(&e->error);
  e->local = 0;
}

/* The last tokens of a sequence's activations [seqlen, hidden]. Waits. */
static sb_status fetch(sb_layer_errors *e, const void *from_dev, float *out) {
  sb_backend *b = e->backend;
  const sb_stream stream = sb_layerwise_stream(e->sequences);
  const size_t count = e->tokens * e->hidden, size = sb_dtype_size(b->act);
  const char *last = (const char *)from_dev + (e->seqlen - e->tokens) * e->hidden * size;
  SB_TRY(b->op->download(b, stream, e->states, last, count * size));
  SB_TRY(b->op->sync(b, stream));
  sb_to_f32(out, e->states, b->act, count);
  return SB_OK;
}

static double squares(const float *a, const float *b, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; i++) {
    const double d = (double)a[i] - (double)b[i];
    sum += d * d;
  }
  return sum;
}

static float *output_of(const sb_layer_errors *e, size_t s) {
  return e->output + s * e->tokens * e->hidden;
}

sb_status sb_layer_errors_observed(sb_layer_errors *e, size_t s) {
  const void *x_dev;
  SB_TRY(sb_layerwise_state(e->sequences, s, &x_dev));
  SB_TRY(fetch(e, x_dev, e->input));
  SB_TRY(fetch(e, sb_layerwise_observed(e->sequences), output_of(e, s)));
  e->added[s] = squares(output_of(e, s), e->input, e->tokens * e->hidden);
  return SB_OK;
}

sb_status sb_layer_errors_advanced(sb_layer_errors *e, size_t s) {
  const void *y_dev;
  SB_TRY(sb_layerwise_state(e->sequences, s, &y_dev));
  SB_TRY(fetch(e, y_dev, e->input));
  e->error[s] = squares(e->input, output_of(e, s), e->tokens * e->hidden);
  return SB_OK;
}

sb_status sb_layer_errors_of_layer(const sb_layer_errors *e, double *relative) {
  uint64_t bad = 0;
  double added, error;
  *relative = NAN;
  for (size_t s = 0; s < e->local; s++) bad += !isfinite(e->added[s]) || !isfinite(e->error[s]);
  SB_TRY(sb_mpi_sum_u64(&bad, 1, e->world->comm));
  if (bad > 0) return SB_OK;
  SB_TRY(sb_exact_total(e->added, e->local, e->world->comm, &added));
  SB_TRY(sb_exact_total(e->error, e->local, e->world->comm, &error));
  if (added > 0) *relative = error / added;
  return SB_OK;
}
