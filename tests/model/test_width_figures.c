/* Widths by layer and role, and the picture of a matrix, against loops over single weights whose
 * place in the source model is looked up one by one. */
#include "model/width_figures.h"

#include <math.h>

#include "tests/support/golden.h"
#include "tests/support/random_orders.h"

static unsigned width_at(const sb_model *m, const sb_matrix *matrix, size_t row, size_t col) {
  const sb_tiling *t = &matrix->tiling;
  return m->bits[matrix->first_block + row / t->block_rows * sb_tiling_block_cols(t) +
                 col / t->block_cols];
}

static void check_cells(const sb_model *m) {
  sb_width_cell *cells = calloc(m->config.layers * SB_ROLE_COUNT, sizeof *cells);
  uint64_t all = 0;
  sb_width_cells(m, cells);
  for (size_t layer = 0; layer < m->config.layers; layer++)
    for (size_t which = 0; which < sb_arch_matrices(&m->arch, layer); which++) {
      const sb_matrix *matrix = sb_model_matrix(m, layer, which);
      const sb_width_cell *cell =
          &cells[layer * SB_ROLE_COUNT + sb_arch_matrix(&m->arch, layer, which)->role];
      uint64_t counts[9] = {0};
      double sum = 0, noise = 0;
      for (size_t r = 0; r < matrix->tiling.rows; r++)
        for (size_t c = 0; c < matrix->tiling.cols; c++) {
          counts[width_at(m, matrix, r, c)]++;
          sum += width_at(m, matrix, r, c);
          noise += pow(4, -(double)width_at(m, matrix, r, c));
        }
      const double weights = (double)(matrix->tiling.rows * matrix->tiling.cols);
      for (unsigned b = 0; b <= 8; b++) EXPECT(cell->weights[b] == counts[b]);
      EXPECT(fabs(sb_width_cell_mean(cell) - sum / weights) < 1e-12);
      EXPECT(fabs(sb_width_cells_noise(cell, 1) - noise / weights) < 1e-12);
      all += sb_width_cell_weights(cell);
    }
  EXPECT(all == m->arch.linear_parameters);
  free(cells);
}

/* The cell of n that has channel `at` of `size`, by the borders that the header states. */
static size_t cell_of(size_t at, size_t size, size_t n) {
  size_t cell = 0;
  while ((cell + 1) * size / n <= at) cell++;
  return cell;
}

static void check_side(const sb_model *m, const sb_width_picture *p, bool source) {
  const sb_matrix *matrix = sb_model_matrix(m, p->layer, p->matrix);
  const uint32_t *rows = sb_orders_rows(&m->orders, matrix->tensor),
                 *cols = sb_orders_cols(&m->orders, matrix->tensor);
  static double sums[SB_PICTURE_SIDE * SB_PICTURE_SIDE], counts[SB_PICTURE_SIDE * SB_PICTURE_SIDE];
  memset(sums, 0, sizeof sums);
  memset(counts, 0, sizeof counts);
  for (size_t r = 0; r < matrix->tiling.rows; r++)
    for (size_t c = 0; c < matrix->tiling.cols; c++) {
      const size_t row = source && rows ? rows[r] : r, col = source && cols ? cols[c] : c;
      const size_t at = cell_of(row, matrix->tiling.rows, p->rows) * p->cols +
                        cell_of(col, matrix->tiling.cols, p->cols);
      sums[at] += width_at(m, matrix, r, c);
      counts[at]++;
    }
  /* floats of numbers up to 8: relative error 2^-24 */
  for (size_t i = 0; i < p->rows * p->cols; i++)
    EXPECT(fabs((source ? p->source : p->stored)[i] - sums[i] / counts[i]) < 1e-6);
}

/* Loops over the model's matrices: none varies more than the one in the picture. */
static void check_choice(const sb_model *m, const sb_width_picture *p) {
  double most = 0, chosen = 0;
  for (size_t layer = 0; layer < m->config.layers; layer++)
    for (size_t which = 0; which < sb_arch_matrices(&m->arch, layer); which++) {
      const sb_matrix *matrix = sb_model_matrix(m, layer, which);
      const size_t n =
          sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling);
      double mean = 0, here = 0;
      for (size_t k = 0; k < n; k++) mean += m->bits[matrix->first_block + k] / (double)n;
      for (size_t k = 0; k < n; k++)
        here += pow(m->bits[matrix->first_block + k] - mean, 2) / (double)n;
      most = fmax(most, here);
      if (layer == p->layer && which == p->matrix) chosen = here;
    }
  EXPECT(chosen > 0 && chosen >= most - 1e-8);
}

static void against_weights(void **state) {
  static sb_width_picture p;
  (void)state;
  for (int i = 0; i < GOLDENS; i++)
    for (int reordered = 0; reordered < 2; reordered++) {
      golden g;
      sb_orders orders = {0};
      golden_open(&g, &(golden_setup){.name = golden_names[i], GOLDEN_DEFAULTS});
      if (reordered) {
        EXPECT_OK(random_fused(&g.model->arch, ALL_CLASSES, 7, &orders));
        golden_close(&g);
        golden_open(&g,
                    &(golden_setup){.name = golden_names[i], .orders = &orders, GOLDEN_DEFAULTS});
      }
      golden_mixed_bits(g.model, 1, 8, 5);
      check_cells(g.model);
      EXPECT_OK(sb_width_picture_make(g.model, &p));
      EXPECT(p.reordered == (reordered == 1));
      check_choice(g.model, &p);
      check_side(g.model, &p, false);
      check_side(g.model, &p, true);
      golden_close(&g);
      sb_orders_free(&orders);
    }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(against_weights)};
RANKS_MAIN(tests)
