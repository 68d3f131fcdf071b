#include "quant/importance.h"

#include "base/memory.h"
#include "mpi/exact.h"
#include "pass/pass.h"

/* Sums are kept in units of 2^20: activations of some thousands, squared, over millions of tokens
 * are within reach. */
enum { EXPONENT = -20 };

typedef struct work {
  sb_model *m;
  sb_backend *b;
  sb_exact *sums; /* device, [arch.channels] */
  size_t tokens;  /* of a sequence */
} work;

static sb_status add_input(void *context, sb_stream stream, size_t layer, size_t input,
                           const void *x) {
  const work *w = context;
  const sb_arch_input *in = sb_arch_input_of(&w->m->arch, layer, input);
  int64_t *sums = (int64_t *)(w->sums + in->first_channel);
  const sb_status status =
      w->b->op->add_squares(w->b, stream, sums, x, w->tokens, in->width, EXPONENT);
  if (status != SB_ERR_NUMERIC) return status;
  return sb_fail(
      status,
      "layer %zu: the inputs of %s are not finite, or so large (about 10^6) that their squares "
      "cannot be added up; check the model, or --grid plain does without",
      layer, sb_arch_matrix(&w->m->arch, layer, in->first_matrix)->name);
}

static sb_status finish(work *w, const sb_sequences *calibration) {
  const size_t count = w->m->arch.channels;
  const double scale = 1.0 / ((double)calibration->count * (double)w->tokens);
  sb_exact *host = NULL;
  sb_status status = sb_alloc(&host, count, sizeof *host, "importance of input channels");
  SB_THEN(w->b->op->download(w->b, NULL, host, w->sums, count * sizeof *host));
  SB_THEN(w->b->op->sync(w->b, NULL));
  SB_THEN(sb_alloc(&w->m->importance, count, sizeof(float), "importance of input channels"));
  status = sb_world_agree(w->m->world, status);
  SB_THEN(sb_exact_allreduce(host, count, w->m->world->comm));
  /* The unit of the sums is left out: only ratios within a matrix matter. */
  for (size_t i = 0; status == SB_OK && i < count; i++)
    w->m->importance[i] = (float)(sb_exact_value(&host[i]) * scale * 0x1p20);
  if (status != SB_OK) sb_free(&w->m->importance);
  sb_free(&host);
  return status;
}

static sb_status measure(work *w, const sb_sequences *calibration, const sb_pass_setup *setup) {
  const size_t bytes = w->m->arch.channels * sizeof *w->sums;
  const sb_pass_observer observer = {w, add_input};
  sb_pass *pass = NULL;
  double loss;
  sb_status status =
      w->b->op->alloc(w->b, bytes, "importance of input channels", (void **)&w->sums);
  SB_THEN(w->b->op->zero(w->b, NULL, w->sums, bytes));
  status = sb_world_agree(w->m->world, status);
  SB_THEN(sb_pass_create(setup, &pass));
  SB_THEN(sb_pass_observe(pass, &observer, &loss));
  SB_THEN(finish(w, calibration));
  sb_pass_free(&pass);
  w->b->op->free(w->b, w->sums);
  return status;
}

sb_status sb_importance_measure(sb_model *m, sb_backend *b, const sb_sequences *calibration,
                                size_t activation_bytes, sb_ticker ticker) {
  work w = {.m = m, .b = b, .tokens = calibration->seqlen};
  const sb_pass_setup setup = sb_sequences_setup(calibration, m, b, activation_bytes, ticker);
  sb_free(&m->importance);
  return measure(&w, calibration, &setup);
}
