#include "sensitivity/diagonal.h"

#include "base/memory.h"
#include "base/trace.h"
#include "sensitivity/block_sums.h"

struct sb_diagonal {
  sb_model *model;
  sb_backend *backend;
  unsigned min_bits, widths;
  sb_block_sums *sums;
  sb_stored_grid *grids; /* device, of the layer at hand, matrix after matrix */
  sb_losses *terms;      /* device, [blocks of a layer]: of one sequence */
  sb_losses *host;       /* the same on the host */
  const sb_device_layer *prepared;
  double tokens; /* n: targets of a sequence */
  double seconds;
};

size_t sb_diagonal_bytes(const sb_sizes *z, unsigned widths) {
  return sizeof(sb_diagonal) + sb_block_sums_bytes(z, widths) +
         z->layer.groups * widths * sizeof(sb_stored_grid) +
         2 * z->layer.blocks * sizeof(sb_losses);
}

sb_status sb_diagonal_create(sb_model *m, sb_backend *b, unsigned min_bits, unsigned max_bits,
                             sb_diagonal **out) {
  sb_status status = sb_alloc(out, 1, sizeof **out, "diagonal");
  if (status != SB_OK) return status;
  sb_diagonal *d = *out;
  size_t groups = 0, blocks, bytes;
  d->model = m;
  d->backend = b;
  d->min_bits = min_bits;
  d->widths = max_bits - min_bits + 1;
  SB_GO(sb_block_sums_create(m, d->widths, &d->sums));
  blocks = sb_block_sums_most_blocks(d->sums);
  groups = sb_model_most_groups(m);
  if (!sb_mul_size(groups, d->widths * sizeof *d->grids, &bytes)) {
    status = sb_fail(SB_ERR_MEMORY, "grids of a layer: %zu groups of %u widths overflow", groups,
                     d->widths);
    goto done;
  }
  SB_GO(b->op->alloc(b, bytes, "grids of a layer", (void **)&d->grids));
  SB_GO(b->op->alloc(b, blocks * sizeof *d->terms, "scores of a layer", (void **)&d->terms));
  SB_GO(sb_alloc(&d->host, blocks, sizeof *d->host, "scores of a layer"));
done:
  if (status != SB_OK) sb_diagonal_free(out);
  return status;
}

void sb_diagonal_free(sb_diagonal **diagonal) {
  sb_diagonal *d = *diagonal;
  if (!d) return;
  d->backend->op->free(d->backend, d->grids);
  d->backend->op->free(d->backend, d->terms);
  sb_free(&d->host);
  sb_block_sums_free(&d->sums);
  sb_free(diagonal);
}

/* The grids of a matrix within those of the layer. */
static sb_stored_grid *grids_of(const sb_diagonal *d, size_t layer, const sb_matrix *matrix) {
  return d->grids + (matrix->first_group - sb_model_first_group(d->model, layer)) * d->widths;
}

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  sb_diagonal *d = context;
  const sb_model *m = d->model;
  SB_SPAN_INTO(&d->seconds, SB_TRACE_COMPUTE, "grids of widths", layer);
  d->prepared = prepared;
  sb_block_sums_begin_layer(d->sums);
  for (size_t which = 0; which < sb_arch_matrices(&m->arch, layer); which++) {
    const sb_matrix *matrix = sb_model_matrix(m, layer, which);
    SB_TRY(d->backend->op->choose_grids(
        d->backend, stream, grids_of(d, layer, matrix),
        &(sb_block_weights){.w = sb_device_layer_source(prepared, which),
                            .dtype = m->dtypes[matrix->tensor],
                            .tiling = &matrix->tiling,
                            .code_kind = m->blocking.code_kind},
        d->min_bits, d->min_bits + d->widths - 1, sb_device_layer_importance(prepared, which)));
  }
  return SB_OK;
}

static sb_status score_matrix(void *context, sb_stream stream, size_t layer, size_t which,
                              const float *g) {
  sb_diagonal *d = context;
  const sb_model *m = d->model;
  const sb_matrix *matrix = sb_model_matrix(m, layer, which);
  SB_SPAN_INTO(&d->seconds, SB_TRACE_COMPUTE, "score matrix", which);
  SB_TRY(d->backend->op->block_squares(
      d->backend, stream, d->terms + (matrix->first_block - sb_block_sums_first(d->sums, layer)), g,
      matrix->tiling.cols,
      &(sb_block_weights){.w = sb_device_layer_source(d->prepared, which),
                          .dtype = m->dtypes[matrix->tensor],
                          .tiling = &matrix->tiling},
      grids_of(d, layer, matrix), d->min_bits, d->min_bits + d->widths - 1));
  return SB_OK;
}

static sb_status end_sequence(void *context, sb_stream stream, size_t layer) {
  sb_diagonal *d = context;
  sb_backend *b = d->backend;
  SB_SPAN_INTO(&d->seconds, SB_TRACE_COMPUTE, "add scores", layer);
  const size_t blocks = sb_block_sums_layer_blocks(d->sums, layer);
  SB_TRY(b->op->download(b, stream, d->host, d->terms, blocks * sizeof *d->host));
  SB_TRY(b->op->sync(b, stream));
  for (size_t k = 0; k < blocks; k++)
    for (unsigned i = 0; i < d->widths; i++)
      if (sb_block_sums_add(d->sums, k, i, 0.5 * d->tokens * d->host[k][d->min_bits + i]) != SB_OK)
        return sb_block_sums_overflow(layer);
  return SB_OK;
}

static sb_status end_layer(void *context, size_t layer) {
  sb_diagonal *d = context;
  SB_SPAN_INTO(&d->seconds, SB_TRACE_COMPUTE, "sum scores", layer);
  SB_TRY(sb_block_sums_end_layer(d->sums, layer));
  return SB_OK;
}

sb_status sb_diagonal_measure(sb_diagonal *d, sb_pass *pass, sb_losses *losses, double *loss) {
  const sb_pass_hooks hooks = {.context = d,
                               .begin_layer = begin_layer,
                               .matrix = score_matrix,
                               .end_sequence = end_sequence,
                               .end_layer = end_layer};
  const double each = 1.0 / (double)sb_pass_sequences(pass);
  d->tokens = (double)sb_pass_seqlen(pass) - 1;
  sb_block_sums_clear(d->sums);
  SB_TRY(sb_pass_gradients(pass, &hooks, loss));
  for (size_t k = 0; k < sb_block_sums_owned(d->sums); k++)
    for (unsigned i = 0; i < d->widths; i++)
      losses[k][d->min_bits + i] = sb_block_sums_value(d->sums, k, i) * each;
  return SB_OK;
}

double sb_diagonal_seconds(const sb_diagonal *d) {
  return d->seconds;
}
