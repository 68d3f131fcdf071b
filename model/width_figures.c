#include "model/width_figures.h"

#include <string.h>

#include "base/memory.h"

static uint64_t block_weights(const sb_tiling *t, size_t i, size_t j) {
  return (uint64_t)sb_tiling_rows_of(t, i) * sb_tiling_cols_of(t, j);
}

void sb_width_cells(const sb_model *m, sb_width_cell *cells) {
  memset(cells, 0, m->config.layers * SB_ROLE_COUNT * sizeof *cells);
  for (size_t layer = 0; layer < m->config.layers; layer++)
    for (size_t which = 0; which < sb_arch_matrices(&m->arch, layer); which++) {
      const sb_matrix *matrix = sb_model_matrix(m, layer, which);
      const sb_role role = sb_arch_matrix(&m->arch, layer, which)->role;
      const size_t across = sb_tiling_block_cols(&matrix->tiling);
      sb_width_cell *cell = &cells[layer * SB_ROLE_COUNT + role];
      for (size_t i = 0; i < sb_tiling_block_rows(&matrix->tiling); i++)
        for (size_t j = 0; j < across; j++)
          cell->weights[m->bits[matrix->first_block + i * across + j]] +=
              block_weights(&matrix->tiling, i, j);
    }
}

uint64_t sb_width_cell_weights(const sb_width_cell *cell) {
  uint64_t all = 0;
  for (unsigned b = 0; b <= 8; b++) all += cell->weights[b];
  return all;
}

double sb_width_cell_mean(const sb_width_cell *cell) {
  const uint64_t all = sb_width_cell_weights(cell);
  double sum = 0;
  for (unsigned b = 1; b <= 8; b++) sum += (double)b * (double)cell->weights[b];
  return all ? sum / (double)all : 0;
}

double sb_width_cells_noise(const sb_width_cell *cells, size_t count) {
  uint64_t all = 0;
  double sum = 0;
  for (size_t i = 0; i < count; i++)
    for (unsigned b = 1; b <= 8; b++) {
      all += cells[i].weights[b];
      sum += (double)cells[i].weights[b] / (double)(UINT64_C(1) << 2 * b);
    }
  return all ? sum / (double)all : 0;
}

/* ---- the picture ---- */

static double variance(const sb_model *m, const sb_matrix *matrix) {
  const size_t count =
      sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling);
  const uint8_t *bits = &m->bits[matrix->first_block];
  double sum = 0, squares = 0;
  for (size_t k = 0; k < count; k++) {
    sum += bits[k];
    squares += (double)bits[k] * bits[k];
  }
  return squares / (double)count - sum / (double)count * (sum / (double)count);
}

static void choose(const sb_model *m, sb_width_picture *out) {
  double most = -1;
  for (size_t layer = 0; layer < m->config.layers; layer++)
    for (size_t which = 0; which < sb_arch_matrices(&m->arch, layer); which++) {
      const double here = variance(m, sb_model_matrix(m, layer, which));
      if (here <= most + 1e-9) continue;
      most = here;
      out->layer = layer;
      out->matrix = which;
    }
}

/* counts[cell * blocks + block] = channels of a side that lie in both. from[] are source channels
 * by stored position; NULL: cells are those of stored positions. */
static sb_status count_side(size_t size, size_t block, size_t cells, const uint32_t *from,
                            uint32_t **counts) {
  const size_t blocks = sb_div_up(size, block);
  SB_TRY(sb_alloc(counts, cells * blocks, sizeof **counts, "channels of a picture"));
  for (size_t i = 0; i < size; i++) {
    const size_t at = from ? from[i] : i;
    /* the cell that has `at`, as cell c begins at c * size / cells, rounded down */
    const size_t cell = ((at + 1) * cells - 1) / size;
    (*counts)[cell * blocks + i / block]++;
  }
  return SB_OK;
}

/* Means of widths over products of row and column counts. */
static void fill(float *out, const sb_width_picture *p, const sb_tiling *t, const uint8_t *bits,
                 const uint32_t *rows, const uint32_t *cols) {
  const size_t down = sb_tiling_block_rows(t), across = sb_tiling_block_cols(t);
  for (size_t a = 0; a < p->rows; a++)
    for (size_t b = 0; b < p->cols; b++) {
      uint64_t sum = 0, weights = 0;
      for (size_t i = 0; i < down; i++) {
        const uint64_t in_row = rows[a * down + i];
        for (size_t j = 0; j < across && in_row; j++) {
          const uint64_t here = in_row * cols[b * across + j];
          weights += here;
          sum += here * bits[i * across + j];
        }
      }
      out[a * p->cols + b] = (float)((double)sum / (double)weights);
    }
}

static sb_status draw(float *out, const sb_model *m, const sb_width_picture *p,
                      const uint32_t *row_from, const uint32_t *col_from) {
  const sb_matrix *matrix = sb_model_matrix(m, p->layer, p->matrix);
  const sb_tiling *t = &matrix->tiling;
  uint32_t *rows = NULL, *cols = NULL;
  sb_status status = count_side(t->rows, t->block_rows, p->rows, row_from, &rows);
  SB_THEN(count_side(t->cols, t->block_cols, p->cols, col_from, &cols));
  if (status == SB_OK) fill(out, p, t, &m->bits[matrix->first_block], rows, cols);
  sb_free(&rows);
  sb_free(&cols);
  return status;
}

sb_status sb_width_picture_make(const sb_model *m, sb_width_picture *out) {
  *out = (sb_width_picture){0};
  choose(m, out);
  const sb_matrix *matrix = sb_model_matrix(m, out->layer, out->matrix);
  const uint32_t *rows = sb_orders_rows(&m->orders, matrix->tensor),
                 *cols = sb_orders_cols(&m->orders, matrix->tensor);
  out->rows = sb_min_size(SB_PICTURE_SIDE, matrix->tiling.rows);
  out->cols = sb_min_size(SB_PICTURE_SIDE, matrix->tiling.cols);
  out->reordered = rows || cols;
  SB_TRY(draw(out->stored, m, out, NULL, NULL));
  return draw(out->source, m, out, rows, cols);
}
