#include "sensitivity/gathering.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/shared/grid.h"
#include "mpi/large.h"
#include "sensitivity/scores.h"

/* Own blocks at their numbers, the rest 0. Of the bits of every number, all ranks but one then
 * contribute 0. */
static sb_status spread(const sb_model *m, const double *owned, double *blocks) {
  memset(blocks, 0, m->blocks * sizeof *blocks);
  for (size_t layer = 0; layer < m->config.layers; layer++) {
    size_t first, end;
    sb_model_owned_blocks(m, layer, m->world->rank, &first, &end);
    memcpy(blocks + first, owned, (end - first) * sizeof *blocks);
    owned += end - first;
  }
  return sb_mpi_sum_u64((uint64_t *)blocks, m->blocks, m->world->comm);
}

sb_status sb_gathering_measure(sb_model *m, sb_backend *backend, const sb_sequences *calibration,
                               unsigned width, size_t activation_bytes, sb_ticker ticker,
                               double *blocks) {
  sb_pass_setup setup = sb_sequences_setup(calibration, m, backend, activation_bytes, ticker);
  setup.gradients = true;
  const size_t owned = sb_model_owned_count(m);
  sb_pass *pass = NULL;
  sb_scores *scores = NULL;
  double *raise = NULL, *cut = NULL, loss;
  memset(m->bits, (int)width, m->blocks);
  sb_status status = sb_alloc(&raise, owned, sizeof *raise, "scores of blocks");
  SB_THEN(sb_alloc(&cut, owned, sizeof *cut, "scores of blocks"));
  status = sb_world_agree(m->world, status);
  SB_THEN(sb_pass_create(&setup, &pass));
  SB_THEN(sb_scores_create(m, backend, SB_MIN_BITS, SB_MAX_BITS, &scores));
  SB_THEN(sb_scores_measure(scores, pass, &loss));
  if (status == SB_OK) {
    sb_scores_predict(scores, SB_ESTIMATOR_FISHER, raise, cut);
    status = spread(m, raise, blocks);
  }
  sb_scores_free(&scores);
  sb_pass_free(&pass);
  sb_free(&raise);
  sb_free(&cut);
  return status;
}

static int falling(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x < y) - (x > y);
}

sb_status sb_gathering_share(const sb_model *m, const double *blocks, sb_role role, double part,
                             double *share) {
  double *sorted = NULL, total = 0, top = 0;
  size_t n = 0;
  SB_TRY(sb_alloc_raw(&sorted, m->blocks, sizeof *sorted, "sensitivities of blocks"));
  for (size_t i = 0; i < m->arch.matrix_count; i++) {
    const sb_matrix *matrix = &m->matrices[i];
    const size_t count =
        sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling);
    if (role != SB_ROLE_COUNT && m->arch.tensors[m->arch.matrices[i]].role != role) continue;
    memcpy(sorted + n, blocks + matrix->first_block, count * sizeof *sorted);
    n += count;
  }
  qsort(sorted, n, sizeof *sorted, falling);
  const size_t most = sb_max_size((size_t)(part * (double)n + 0.5), 1);
  for (size_t i = 0; i < n; i++) {
    total += sorted[i];
    if (i < most) top += sorted[i];
  }
  *share = total > 0 ? top / total : 0.0;
  sb_free(&sorted);
  return SB_OK;
}
