/* bench_exact [MODEL CALIB [BLOCKS [SECONDS]]]: how far the distributed allocation is from the
 * optimum, as a table in Markdown. Synthetic instances of up to BLOCKS blocks (100000) with
 * heavy-tailed predictions and ragged blocks, and the predictions really measured on MODEL with the
 * calibration tokens CALIB at uniform 2, 3 and 4 bits, in blocks of 128 x 128 and 32 x 32. Runs on
 * any number of ranks; the exact solvers on rank 0.
 *
 * "Loss" is the predicted loss of the result counted from every block at its best choice,
 * so nothing that no choice can avoid flatters the percentages. The optimum is CBC's,
 * with at most SECONDS (120) per row; where dynamic programming can hold its table, its
 * optimum stands beside it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/choose_blocks.h"
#include "alloc/greedy.h"
#include "base/clock.h"
#include "base/memory.h"
#include "folders/hf_load.h"
#include "kernels/blockrow.h"
#include "pass/sequences.h"
#include "sensitivity/scores.h"
#include "tests/support/cbc.h"

/* All blocks on every rank; `first` to `end` are this rank's. */
typedef struct problem {
  const sb_world *world;
  const char *name;
  sb_blocks all;
  size_t first, end;
  uint64_t *id;
  uint16_t *rows, *cols;
  uint8_t *start; /* NULL: all widths are open, as `table` says */
  double *gain, *loss;
  double (*table)[SB_WIDTHS];
} problem;

static void problem_free(problem *p) {
  sb_free(&p->id);
  sb_free(&p->rows);
  sb_free(&p->cols);
  sb_free(&p->start);
  sb_free(&p->gain);
  sb_free(&p->loss);
  sb_free(&p->table);
}

static sb_status problem_create(const sb_world *world, const char *name, size_t count,
                                unsigned min_bits, unsigned max_bits, problem *p) {
  *p = (problem){.world = world, .name = name};
  p->first = count * (size_t)world->rank / (size_t)world->size;
  p->end = count * ((size_t)world->rank + 1) / (size_t)world->size;
  SB_TRY(sb_alloc(&p->id, count, sizeof *p->id, "blocks"));
  SB_TRY(sb_alloc(&p->rows, count, sizeof *p->rows, "blocks"));
  SB_TRY(sb_alloc(&p->cols, count, sizeof *p->cols, "blocks"));
  SB_TRY(sb_alloc(&p->start, count, 1, "blocks"));
  SB_TRY(sb_alloc(&p->gain, count, sizeof *p->gain, "blocks"));
  SB_TRY(sb_alloc(&p->loss, count, sizeof *p->loss, "blocks"));
  p->all =
      (sb_blocks){count, p->id, p->rows, p->cols, SB_GRID_ASYMMETRIC, min_bits, max_bits, NULL};
  return SB_OK;
}

static unsigned lowest(const problem *p, size_t k) {
  const unsigned least = sb_blocks_least(&p->all, k);
  if (!p->start) return least;
  return p->start[k] > least ? p->start[k] - 1u : least;
}

static unsigned highest(const problem *p, size_t k) {
  return p->start && p->start[k] < p->all.max_bits ? p->start[k] + 1u : p->all.max_bits;
}

/* Predicted loss of block k at `bits`, from its best choice. */
static double loss_at(const problem *p, size_t k, unsigned bits) {
  if (p->table) return p->table[k][bits] - p->table[k][p->all.max_bits];
  const double gain = p->start[k] < p->all.max_bits ? p->gain[k] : 0;
  return bits > p->start[k] ? 0 : bits == p->start[k] ? gain : gain + p->loss[k];
}

static unsigned choices(void *context, size_t k, sb_choice *out) {
  const problem *p = context;
  unsigned n = 0;
  for (unsigned bits = lowest(p, k); bits <= highest(p, k); bits++)
    out[n++] = (sb_choice){sb_blocks_cost(&p->all, k, bits), loss_at(p, k, bits)};
  return n;
}

/* The distributed allocation; bits[] of all blocks, on all ranks. Collective. */
static sb_status allocate(const problem *p, uint64_t budget, uint8_t *bits, double *seconds) {
  const size_t own = p->end - p->first;
  const sb_blocks mine = {own,
                          p->id + p->first,
                          p->rows + p->first,
                          p->cols + p->first,
                          SB_GRID_ASYMMETRIC,
                          p->all.min_bits,
                          p->all.max_bits,
                          NULL};
  *seconds = INFINITY;
  for (int i = 0; i < 3; i++) { /* the best of three */
    sb_step_result moved;
    sb_choose_result result;
    memset(bits, 0, p->all.count);
    if (p->start) memcpy(bits + p->first, p->start + p->first, own);
    SB_MPI(MPI_Barrier(p->world->comm));
    const double start = sb_now();
    if (p->start)
      SB_TRY(sb_greedy_step(p->world, &mine, p->gain + p->first, p->loss + p->first, budget,
                            UINT64_MAX, bits + p->first, &moved));
    else
      SB_TRY(sb_choose_blocks(p->world, &mine, (const sb_losses *)p->table + p->first, budget,
                              bits + p->first, &result));
    *seconds = fmin(*seconds, sb_now() - start);
  }
  SB_MPI(
      MPI_Allreduce(MPI_IN_PLACE, bits, (int)p->all.count, MPI_UINT8_T, MPI_MAX, p->world->comm));
  return SB_OK;
}

static uint64_t budget_at(problem *p, double share) {
  uint64_t least = 0, most = 0;
  for (size_t k = 0; k < p->all.count; k++) {
    least += sb_blocks_cost(&p->all, k, lowest(p, k));
    most += sb_blocks_cost(&p->all, k, highest(p, k));
  }
  return least + (uint64_t)(share * (double)(most - least));
}

static sb_status row(problem *p, double share, double limit) {
  const sb_knapsack items = {p->all.count, p->id, SB_CHOICES, p, choices};
  const uint64_t budget = budget_at(p, share);
  uint8_t *bits = NULL;
  double seconds, weights = 0;
  sb_optimum mine, cbc = {0}, dp = {0};
  sb_status status;
  SB_GO(sb_world_agree(p->world, sb_alloc(&bits, p->all.count, 1, "blocks")));
  SB_GO(allocate(p, budget, bits, &seconds));
  if (p->world->rank != 0) goto done;
  for (size_t k = 0; k < p->all.count; k++) {
    weights += (double)p->rows[k] * p->cols[k];
    bits[k] = (uint8_t)(bits[k] - lowest(p, k));
  }
  mine = sb_optimum_of(&items, bits);
  if (mine.cost > budget) SB_GO(sb_fail(SB_ERR_INTERNAL, "the allocation is over its budget"));
  double start = sb_now();
  SB_GO(sb_cbc_solve(&items, budget, 1e-6, limit, bits, &cbc));
  const double solver = sb_now() - start;
  printf("| %s | %zu | %.3f | %.5e | %.5e | %.4f%% | %+.4f%% | %+.4f%% | ", p->name, p->all.count,
         (double)budget / weights, mine.loss, cbc.loss, 100 * (cbc.loss / cbc.bound - 1),
         100 * (mine.loss / cbc.loss - 1), 100 * (mine.loss / cbc.bound - 1));
  if (sb_optimum_dp(&items, budget, bits, &dp) == SB_OK)
    printf("%+.4f%%", 100 * (mine.loss / dp.loss - 1));
  printf(" | %.4f | %.1f |\n", seconds, solver);
  fflush(stdout);
done:
  sb_free(&bits);
  return sb_world_agree(p->world, status);
}

static sb_status rows(problem *p, double limit) {
  static const double shares[] = {0.05, 0.25, 0.5, 0.75, 0.95, 0.99};
  for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) SB_TRY(row(p, shares[i], limit));
  return SB_OK;
}

/* ---- synthetic instances ---- */

static double uniform(uint64_t *state) {
  uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return (double)((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

static double normal(uint64_t *state) {
  double sum = -6;
  for (int i = 0; i < 12; i++) sum += uniform(state);
  return sum;
}

/* Nine tenths of the blocks are whole, the others ragged in one or both directions; predictions are
 * log-normal over some seven orders of magnitude, a cut costs about four times what a raise gains.
 * With `table` all widths are open. */
static sb_status synthetic(const sb_world *world, size_t count, bool table, double limit) {
  problem p;
  uint64_t state = count;
  sb_status status;
  SB_GO(sb_world_agree(
      world, problem_create(world, table ? "synthetic, all widths" : "synthetic, one step", count,
                            1, 8, &p)));
  for (size_t k = 0; k < count; k++) {
    p.id[k] = k;
    p.rows[k] = uniform(&state) < 0.95 ? 128 : (uint16_t)(8 + 120 * uniform(&state));
    p.cols[k] = uniform(&state) < 0.95 ? 128 : (uint16_t)(8 + 120 * uniform(&state));
    p.start[k] = (uint8_t)(2 + 3 * uniform(&state));
    p.gain[k] = 1e-7 * exp(2 * normal(&state));
    p.loss[k] = 4 * p.gain[k] * exp(0.5 * normal(&state));
  }
  if (table) {
    sb_free(&p.start);
    SB_GO(sb_world_agree(world, sb_alloc(&p.table, count, sizeof *p.table, "table of losses")));
    for (size_t k = 0; k < count; k++) {
      double loss = 30 * p.gain[k];
      for (unsigned bits = 1; bits < SB_WIDTHS; bits++) {
        p.table[k][bits] = loss;
        loss *= 0.25 * exp(0.3 * normal(&state));
      }
    }
  }
  status = rows(&p, limit);
done:
  problem_free(&p);
  return status;
}

/* ---- a model's own predictions ---- */

/* Every rank's blocks and predictions in their places, for all: elsewhere
 * they are zero. Collective. */
static sb_status fill_in(const sb_model *m, const double *gain, const double *loss, problem *p) {
  size_t n = 0;
  for (size_t layer = 0; layer < m->config.layers; layer++) {
    size_t first, end;
    sb_model_owned_blocks(m, layer, m->world->rank, &first, &end);
    for (size_t id = first; id < end; id++, n++) {
      p->gain[id] = gain[n];
      p->loss[id] = loss[n];
    }
  }
  for (size_t i = 0; i < m->arch.matrix_count; i++) {
    const sb_tiling *tiling = &m->matrices[i].tiling;
    const size_t cols = sb_tiling_block_cols(tiling), blocks = sb_tiling_block_rows(tiling) * cols;
    for (size_t k = 0; k < blocks; k++) {
      p->rows[m->matrices[i].first_block + k] = (uint16_t)sb_tiling_rows_of(tiling, k / cols);
      p->cols[m->matrices[i].first_block + k] = (uint16_t)sb_tiling_cols_of(tiling, k % cols);
    }
  }
  for (size_t k = 0; k < m->blocks; k++) p->id[k] = k;
  memcpy(p->start, m->bits, m->blocks);
  SB_MPI(MPI_Allreduce(MPI_IN_PLACE, p->gain, (int)m->blocks, MPI_DOUBLE, MPI_SUM, m->world->comm));
  SB_MPI(MPI_Allreduce(MPI_IN_PLACE, p->loss, (int)m->blocks, MPI_DOUBLE, MPI_SUM, m->world->comm));
  return SB_OK;
}

/* Predictions at a uniform width. Collective. */
static sb_status measured(sb_model *m, sb_backend *backend, const sb_sequences *calibration,
                          unsigned bits, double limit) {
  sb_pass_setup setup = sb_sequences_setup(calibration, m, backend, (size_t)1 << 30, SB_NO_TICKER);
  setup.gradients = true;
  char name[80];
  sb_pass *pass = NULL;
  sb_scores *scores = NULL;
  double *gain = NULL, *loss = NULL, mean;
  problem p = {0};
  sb_status status;
  snprintf(name, sizeof name, "measured at %u bits, blocks of %zu x %zu", bits, m->blocking.rows,
           m->blocking.cols);
  memset(m->bits, (int)bits, m->blocks);
  SB_GO(sb_world_agree(m->world, problem_create(m->world, name, m->blocks, 1, 8, &p)));
  status = sb_alloc(&gain, sb_model_owned_count(m), sizeof *gain, "predictions");
  SB_THEN(sb_alloc(&loss, sb_model_owned_count(m), sizeof *loss, "predictions"));
  SB_GO(sb_world_agree(m->world, status));
  SB_GO(sb_pass_create(&setup, &pass));
  SB_GO(sb_scores_create(m, backend, 1, 8, &scores));
  SB_GO(sb_scores_measure(scores, pass, &mean));
  sb_scores_predict(scores, SB_ESTIMATOR_FISHER, gain, loss);
  SB_GO(fill_in(m, gain, loss, &p));
  status = rows(&p, limit);
done:
  sb_scores_free(&scores);
  sb_pass_free(&pass);
  sb_free(&gain);
  sb_free(&loss);
  problem_free(&p);
  return status;
}

static sb_status model(const sb_world *world, sb_backend *backend, const char *folder,
                       const char *calib, size_t side, double limit) {
  sb_model *m = NULL;
  sb_sequences calibration = {0};
  sb_status status;
  SB_GO(sb_hf_load(world, folder, (sb_blocking){side, side, SB_GRID_ASYMMETRIC}, false, &m));
  SB_GO(sb_sequences_read(world, calib, SB_TOKENS_AUTO, m->config.vocab, 128, 64, 0, &calibration));
  for (unsigned bits = 2; bits <= 4; bits++) SB_GO(measured(m, backend, &calibration, bits, limit));
done:
  sb_sequences_free(&calibration);
  sb_model_free(&m);
  return status;
}

static sb_status run(const sb_world *world, int argc, char **argv) {
  const size_t most = argc > 3 ? strtoull(argv[3], NULL, 10) : 100000;
  const double limit = argc > 4 ? atof(argv[4]) : 120;
  sb_backend *backend = NULL;
  sb_status status = SB_OK;
  if (world->rank == 0)
    printf("| predictions | blocks | bits a weight | loss | CBC | CBC's gap | against CBC | "
           "against its "
           "bound | against DP | "
           "seconds | CBC |\n"
           "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
  if (argc > 2) {
    SB_GO(sb_world_agree(world, sb_backend_cpu_create(SB_COMPUTE_F32, 1, &backend)));
    SB_GO(model(world, backend, argv[1], argv[2], 128, limit));
    SB_GO(model(world, backend, argv[1], argv[2], 32, limit));
  }
  for (size_t count = 1000; count <= most; count *= 10)
    SB_GO(synthetic(world, count, false, limit));
  if (most >= 10000) SB_GO(synthetic(world, 10000, true, limit));
done:
  if (backend) backend->op->destroy(backend);
  return status;
}

int main(int argc, char **argv) {
  sb_world world;
  sb_status status = sb_world_init(&argc, &argv, &world);
  if (status == SB_OK && argc == 2)
    status = sb_fail(SB_ERR_USAGE, "bench_exact [MODEL CALIB [BLOCKS [SECONDS]]]");
  SB_THEN(run(&world, argc, argv));
  if (status != SB_OK) fprintf(stderr, "%s\n", sb_message());
  sb_world_finalize(&world);
  return sb_exit_code(status);
}
