#include "sensitivity/energy.h"

#include "base/memory.h"
#include "base/trace.h"
#include "kernels/shared/trellis_error.h"
#include "sensitivity/block_sums.h"

double sb_energy_error(sb_code_kind kind, unsigned width) {
  static const double at_one_bit = 2.2;
  return sb_trellis_error(kind, width) * (width == 1 ? at_one_bit : 1.0);
}

struct sb_energy {
  sb_model *model;
  sb_backend *backend;
  sb_block_sums *sums;
  double *terms; /* device, [blocks of a layer]: of one sequence */
  double *host;  /* the same on the host */
  const sb_device_layer *prepared;
  double tokens; /* n: targets of a sequence */
  double seconds;
};

size_t sb_energy_bytes(const sb_sizes *z) {
  return sizeof(sb_energy) + sb_block_sums_bytes(z, 1) + 2 * z->layer.blocks * sizeof(double);
}

sb_status sb_energy_create(sb_model *m, sb_backend *b, sb_energy **out) {
  sb_status status = sb_alloc(out, 1, sizeof **out, "energies");
  if (status != SB_OK) return status;
  sb_energy *e = *out;
  size_t blocks;
  e->model = m;
  e->backend = b;
  SB_GO(sb_block_sums_create(m, 1, &e->sums));
  blocks = sb_block_sums_most_blocks(e->sums);
  SB_GO(b->op->alloc(b, blocks * sizeof *e->terms, "scores of a layer", (void **)&e->terms));
  SB_GO(sb_alloc(&e->host, blocks, sizeof *e->host, "scores of a layer"));
done:
  if (status != SB_OK) sb_energy_free(out);
  return status;
}

void sb_energy_free(sb_energy **energy) {
  sb_energy *e = *energy;
  if (!e) return;
  e->backend->op->free(e->backend, e->terms);
  sb_free(&e->host);
  sb_block_sums_free(&e->sums);
  sb_free(energy);
}

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  sb_energy *e = context;
  (void)stream;
  (void)layer;
  e->prepared = prepared;
  sb_block_sums_begin_layer(e->sums);
  return SB_OK;
}

static sb_status score_matrix(void *context, sb_stream stream, size_t layer, size_t which,
                              const float *g) {
  sb_energy *e = context;
  const sb_model *m = e->model;
  const sb_matrix *matrix = sb_model_matrix(m, layer, which);
  SB_SPAN_INTO(&e->seconds, SB_TRACE_COMPUTE, "score matrix", which);
  SB_TRY(e->backend->op->block_energy(
      e->backend, stream, e->terms + (matrix->first_block - sb_block_sums_first(e->sums, layer)), g,
      matrix->tiling.cols,
      &(sb_block_weights){.w = sb_device_layer_source(e->prepared, which),
                          .dtype = m->dtypes[matrix->tensor],
                          .tiling = &matrix->tiling},
      sb_device_layer_col_factors(e->prepared, which)));
  return SB_OK;
}

static sb_status end_sequence(void *context, sb_stream stream, size_t layer) {
  sb_energy *e = context;
  sb_backend *b = e->backend;
  SB_SPAN_INTO(&e->seconds, SB_TRACE_COMPUTE, "add scores", layer);
  const size_t blocks = sb_block_sums_layer_blocks(e->sums, layer);
  SB_TRY(b->op->download(b, stream, e->host, e->terms, blocks * sizeof *e->host));
  SB_TRY(b->op->sync(b, stream));
  for (size_t k = 0; k < blocks; k++)
    if (sb_block_sums_add(e->sums, k, 0, 0.5 * e->tokens * e->host[k]) != SB_OK)
      return sb_block_sums_overflow(layer);
  return SB_OK;
}

static sb_status end_layer(void *context, size_t layer) {
  sb_energy *e = context;
  SB_SPAN_INTO(&e->seconds, SB_TRACE_COMPUTE, "sum scores", layer);
  SB_TRY(sb_block_sums_end_layer(e->sums, layer));
  return SB_OK;
}

sb_status sb_energy_measure(sb_energy *e, sb_pass *pass, unsigned min_bits, unsigned max_bits,
                            sb_losses *losses, double *loss) {
  const sb_pass_hooks hooks = {.context = e,
                               .begin_layer = begin_layer,
                               .matrix = score_matrix,
                               .end_sequence = end_sequence,
                               .end_layer = end_layer};
  const double each = 1.0 / (double)sb_pass_sequences(pass);
  e->tokens = (double)sb_pass_seqlen(pass) - 1;
  sb_block_sums_clear(e->sums);
  SB_TRY(sb_pass_gradients(pass, &hooks, loss));
  for (size_t k = 0; k < sb_block_sums_owned(e->sums); k++)
    for (unsigned b = min_bits; b <= max_bits; b++)
      losses[k][b] = sb_block_sums_value(e->sums, k, 0) * each *
                     sb_energy_error(e->model->blocking.code_kind, b);
  return SB_OK;
}

double sb_energy_seconds(const sb_energy *e) {
  return e->seconds;
}
