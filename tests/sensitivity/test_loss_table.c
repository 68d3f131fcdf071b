/* Tables of losses against plain loops over the dense gradients and their factors; where the
 * Kronecker form must be the exact Fisher form; and what a table says about gains. That tables do
 * not depend on ranks, test_scalars_same_bits.c sees; here every number of ranks is held against
 * the same plain loops. */
#include "tests/support/golden.h"

#include <math.h>

#include "kernels/shared/trellis_error.h"
#include "tests/support/dense.h"
#include "sensitivity/loss_table.h"

enum { LEAST = 1, MOST = 5 };

/* The sums over this rank's sequences, all in double, dense. */
typedef struct plain {
  const golden *g;
  size_t T;
  double **inner;   /* of every matrix: [cols, cols], sum of x x' */
  double **outer;   /* [rows], sum of dy^2 */
  double **squares; /* [rows, cols], sum of g^2 */
  double **slope;   /* [rows, cols], sum of g */
  float *product;   /* dy' x of the matrix at hand */
  double worst;     /* of |product - g|, as a share of the largest g */
} plain;

static sb_status factors(void *context, sb_stream stream, size_t layer, size_t which, const void *x,
                         const void *dy) {
  plain *p = context;
  const size_t i = p->g->model->arch.layers[layer].first_matrix + which;
  const sb_tiling *tiling = &p->g->model->matrices[i].tiling;
  const float *in = x, *out = dy;
  (void)stream;
  p->product = calloc(tiling->rows * tiling->cols, sizeof *p->product);
  for (size_t t = 0; t < p->T; t++) {
    const float *u = in + t * tiling->cols, *v = out + t * tiling->rows;
    if (t + 1 == p->T) /* has no target */
      for (size_t r = 0; r < tiling->rows; r++) EXPECT(v[r] == 0.0f);
    for (size_t r = 0; r < tiling->rows; r++) {
      p->outer[i][r] += (double)v[r] * (double)v[r];
      for (size_t c = 0; c < tiling->cols; c++) p->product[r * tiling->cols + c] += v[r] * u[c];
    }
    for (size_t a = 0; a < tiling->cols && t + 1 < p->T; a++)
      for (size_t b = 0; b < tiling->cols; b++)
        p->inner[i][a * tiling->cols + b] += (double)u[a] * (double)u[b];
  }
  return SB_OK;
}

static sb_status matrix(void *context, sb_stream stream, size_t layer, size_t which,
                        const float *g) {
  plain *p = context;
  const size_t i = p->g->model->arch.layers[layer].first_matrix + which;
  const sb_tiling *tiling = &p->g->model->matrices[i].tiling;
  double largest = 0, apart = 0;
  (void)stream;
  for (size_t k = 0; k < tiling->rows * tiling->cols; k++) {
    p->squares[i][k] += (double)g[k] * (double)g[k];
    p->slope[i][k] += (double)g[k];
    largest = fmax(largest, fabs((double)g[k]));
    apart = fmax(apart, fabs((double)g[k] - (double)p->product[k]));
  }
  if (apart > 0) p->worst = fmax(p->worst, apart / largest);
  free(p->product);
  return SB_OK;
}

static plain plain_of(const golden *g, sb_pass *pass, size_t T) {
  const sb_model *m = g->model;
  const size_t matrices = m->arch.matrix_count;
  plain p = {.g = g, .T = T};
  double loss = NAN;
  double ***all[] = {&p.inner, &p.outer, &p.squares, &p.slope};
  for (int kind = 0; kind < 4; kind++) {
    *all[kind] = calloc(matrices, sizeof(double *));
    for (size_t i = 0; i < matrices; i++) {
      const sb_tiling *tiling = &m->matrices[i].tiling;
      const size_t counts[] = {tiling->cols * tiling->cols, tiling->rows,
                               tiling->rows * tiling->cols, tiling->rows * tiling->cols};
      (*all[kind])[i] = calloc(counts[kind], sizeof(double));
    }
  }
  const sb_pass_hooks hooks = {.context = &p,
                               .begin_layer = golden_begin_layer,
                               .matrix = matrix,
                               .end_sequence = golden_end_sequence,
                               .end_layer = golden_end_layer,
                               .factors = factors};
  EXPECT_OK(sb_pass_gradients(pass, &hooks, &loss));
  for (int kind = 0; kind < 4; kind++)
    for (size_t i = 0; i < matrices; i++) {
      const sb_tiling *tiling = &m->matrices[i].tiling;
      const size_t counts[] = {tiling->cols * tiling->cols, tiling->rows,
                               tiling->rows * tiling->cols, tiling->rows * tiling->cols};
      EXPECT(MPI_Allreduce(MPI_IN_PLACE, (*all[kind])[i], (int)counts[kind], MPI_DOUBLE, MPI_SUM,
                           m->world->comm) == MPI_SUCCESS);
    }
  EXPECT(p.worst < 1e-5); /* the factors are those of the gradient: sums of T terms in float, each
                             in its order */
  return p;
}

static void plain_free(plain *p) {
  double **all[] = {p->inner, p->outer, p->squares, p->slope};
  for (int kind = 0; kind < 4; kind++) {
    for (size_t i = 0; i < p->g->model->arch.matrix_count; i++) free(all[kind][i]);
    free(all[kind]);
  }
}

/* What a block is expected to lose with weights `rounded`, by each form; the magnitudes added up
 * for hessian's, and what it would be if dy^2 were 1 everywhere. */
typedef struct expected {
  double hessian, size, unit, diagonal, exact;
} expected;

static expected expect_block(const plain *p, size_t i, size_t k, const float *w,
                             const float *rounded, double sequences) {
  const sb_tiling *tiling = &p->g->model->matrices[i].tiling;
  const size_t row0 = k / sb_tiling_block_cols(tiling) * tiling->block_rows,
               col0 = k % sb_tiling_block_cols(tiling) * tiling->block_cols;
  const size_t rows = sb_tiling_rows_of(tiling, k / sb_tiling_block_cols(tiling)),
               cols = sb_tiling_cols_of(tiling, k % sb_tiling_block_cols(tiling));
  const double tokens = (double)p->T - 1;
  expected out = {0};
  double slope = 0;
  for (size_t r = row0; r < row0 + rows; r++) {
    double square = 0, size = 0;
    for (size_t a = col0; a < col0 + cols; a++) {
      const double e = (double)rounded[r * tiling->cols + a] - (double)w[r * tiling->cols + a];
      out.diagonal += p->squares[i][r * tiling->cols + a] * e * e;
      slope += p->slope[i][r * tiling->cols + a] * e;
      for (size_t b = col0; b < col0 + cols; b++) {
        const double term =
            p->inner[i][a * tiling->cols + b] * e *
            ((double)rounded[r * tiling->cols + b] - (double)w[r * tiling->cols + b]);
        square += term;
        size += fabs(term);
      }
    }
    /* H = inner / (S n), G = n outer / S */
    const double scale = 0.5 / (sequences * tokens) * (tokens * p->outer[i][r] / sequences);
    out.hessian += scale * square;
    out.size += scale * size;
    out.unit += 0.5 / (sequences * sequences) * square;
  }
  out.diagonal *= 0.5 * tokens / sequences;
  out.exact = 0.5 * tokens * slope * slope; /* of one sequence */
  return out;
}

typedef void (*block_check)(const plain *p, const char *name, size_t block, unsigned bits,
                            const expected *want, double hessian, double diagonal);

/* Every owned block at every width. */
static void each_block(const golden *g, sb_pass *pass, size_t T, double sequences,
                       bool full_precision, const char *name, block_check check) {
  sb_model *m = g->model;
  sb_loss_table *tables[2] = {NULL};
  double loss[2] = {NAN, NAN};
  uint8_t *bits = malloc(m->blocks);
  memcpy(bits, m->bits, m->blocks);
  for (int kind = 0; kind < 2; kind++) {
    EXPECT_OK(sb_loss_table_create(m, g->backend,
                                   kind ? SB_ESTIMATOR_DIAGONAL : SB_ESTIMATOR_HESSIAN, LEAST, MOST,
                                   &tables[kind]));
    EXPECT_OK(sb_loss_table_measure(tables[kind], pass, full_precision, &loss[kind]));
  }
  EXPECT(loss[0] == loss[1]);
  EXPECT(memcmp(bits, m->bits, m->blocks) == 0); /* restored */
  if (full_precision) memset(m->bits, 0, m->blocks);
  sb_pass_forget(pass);
  plain p = plain_of(g, pass, T);
  double again = NAN;
  EXPECT_OK(sb_pass_loss(pass, &again));
  EXPECT(again == loss[0]); /* the table was measured where it should */
  size_t n = 0;
  for (size_t layer = 0; layer < m->config.layers; layer++) {
    size_t first, end;
    sb_model_owned_blocks(m, layer, world.rank, &first, &end);
    for (size_t i = m->arch.layers[layer].first_matrix; i < m->arch.layers[layer + 1].first_matrix;
         i++) {
      const sb_matrix *mine = &m->matrices[i];
      const size_t blocks =
          sb_tiling_block_rows(&mine->tiling) * sb_tiling_block_cols(&mine->tiling);
      float *w = dense_weights(g, mine);
      const size_t before = n;
      for (unsigned b = 0; b < SB_WIDTHS; b++) {
        memset(m->bits + mine->first_block, (int)(b == 0 ? 1 : b), blocks);
        float *rounded = dense_rounded(w, m, mine, 0);
        n = before;
        for (size_t k = 0; k < blocks; k++) {
          if (mine->first_block + k < first || mine->first_block + k >= end) continue;
          const double hessian = sb_loss_table_losses(tables[0])[n][b],
                       diagonal = sb_loss_table_losses(tables[1])[n][b];
          n++;
          if (b < LEAST || b > MOST) {
            EXPECT(hessian == 0 && diagonal == 0);
            continue;
          }
          const expected want = expect_block(&p, i, k, w, rounded, sequences);
          check(&p, name, mine->first_block + k, b, &want, hessian, diagonal);
        }
        free(rounded);
      }
      free(w);
    }
  }
  EXPECT(n == sb_model_owned_count(m));
  memcpy(m->bits, bits, m->blocks);
  free(bits);
  plain_free(&p);
  for (int kind = 0; kind < 2; kind++) sb_loss_table_free(&tables[kind]);
}

/* Moments of a sequence and e H e' are sums in float: 2e-6 of the magnitudes added up. Squares have
 * no signs: 2e-6. */
static void as_in_plain_loops(const plain *p, const char *name, size_t block, unsigned bits,
                              const expected *want, double hessian, double diagonal) {
  (void)p;
  const bool good = fabs(hessian - want->hessian) <= 2e-6 * want->size &&
                    fabs(diagonal - want->diagonal) <= 2e-6 * want->diagonal + 1e-22;
  if (!good)
    print_error("%s, block %zu, %u bits: hessian %g, in plain loops %g of %g; diagonal %g, %g\n",
                name, block, bits, hessian, want->hessian, want->size, diagonal, want->diagonal);
  EXPECT(good && want->hessian > 0 && want->diagonal > 0);
}

static void against_plain_loops(void **state) {
  static const sb_blocking blockings[] = {{16, 32, SB_GRID_ASYMMETRIC}, {7, 10, SB_GRID_SYMMETRIC}};
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++) {
    golden g;
    golden_open(&g, &(golden_setup){.name = golden_names[i],
                                    .gradients = true,
                                    .threads = 1,
                                    .blocking = blockings[i % 2],
                                    .activation_bytes = (size_t)1 << 30});
    golden_mixed_bits(g.model, LEAST, MOST, i);
    each_block(&g, g.pass, 48, 2, i / 2 % 2 == 1, golden_names[i], as_in_plain_loops);
    golden_close(&g);
  }
  all_ranks_passed();
}

/* n/2 <g, e>^2, in one sequence of one target and blocks of one row. What differs is rounding to
 * float, of the magnitudes added up, and that sums of dy^2 are multiples of 2^-88: gradients of Q
 * and K are but rounding noise here, since a token that sees itself alone has no choice. */
static void as_in_fisher(const plain *p, const char *name, size_t block, unsigned bits,
                         const expected *want, double hessian, double diagonal) {
  (void)p, (void)diagonal;
  const double slack = 2e-6 * want->size + 0x1p-89 * want->unit;
  if (!(fabs(hessian - want->exact) <= slack))
    print_error("%s, block %zu, %u bits: hessian %g, exact %g\n", name, block, bits, hessian,
                want->exact);
  EXPECT(fabs(hessian - want->exact) <= slack);
}

static void is_the_exact_fisher_where_it_must(void **state) {
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++) {
    golden g;
    sb_sequences one = {0};
    sb_pass *pass = NULL;
    char path[2048];
    golden_open(&g, &(golden_setup){.name = golden_names[i],
                                    .threads = 1,
                                    .blocking = {1, 16, SB_GRID_ASYMMETRIC},
                                    .activation_bytes = (size_t)1 << 30});
    golden_path(&g, "tokens.bin", path);
    EXPECT_OK(sb_sequences_read(&world, path, SB_TOKENS_U16, g.model->config.vocab, 2, 1, 0, &one));
    golden_mixed_bits(g.model, LEAST, MOST, i);
    const sb_pass_setup setup = {.model = g.model,
                                 .backend = g.backend,
                                 .tokens = one.tokens,
                                 .sequences = 1,
                                 .seqlen = 2,
                                 .gradients = true,
                                 .activation_bytes = 1};
    EXPECT_OK(sb_pass_create(&setup, &pass));
    each_block(&g, pass, 2, 1, i % 2 == 1, golden_names[i], as_in_fisher);
    sb_pass_free(&pass);
    sb_sequences_free(&one);
    golden_close(&g);
  }
  all_ranks_passed();
}

/* The size of a block's weights and the squares of its gradients, by plain loops in double. */
static double plain_energy(const plain *p, size_t i, size_t k, const float *w) {
  const sb_tiling *tiling = &p->g->model->matrices[i].tiling;
  const size_t across = sb_tiling_block_cols(tiling), row = k / across * tiling->block_rows,
               col = k % across * tiling->block_cols, rows = sb_tiling_rows_of(tiling, k / across),
               cols = sb_tiling_cols_of(tiling, k % across);
  double weighed = 0, size = 0;
  for (size_t r = row; r < row + rows; r++) {
    const float *here = w + r * tiling->cols;
    double square = 0;
    for (size_t c = 0; c < tiling->cols; c++) square += (double)here[c] * (double)here[c];
    square = pow(
        (double)sb_f16_to_f32(sb_f32_to_f16((float)sqrt(sqrt(square / (double)tiling->cols)))), 2);
    for (size_t c = col; c < col + cols; c++) {
      weighed += p->squares[i][r * tiling->cols + c] * square;
      size += (double)here[c] * (double)here[c] / square / (double)(rows * cols);
    }
  }
  return weighed * size;
}

/* Sums along rows are in float: 2e-6. Widths differ by the trellis' error alone. */
static void energies_of_trellises(void **state) {
  enum { T = 48, SEQUENCES = 2 };
  (void)state;
  golden g;
  golden_open(&g, &(golden_setup){.name = "gqa-tied",
                                  .gradients = true,
                                  .threads = 1,
                                  .blocking = {7, 10, SB_TRELLIS_12},
                                  .activation_bytes = (size_t)1 << 30});
  sb_loss_table *table = NULL;
  double loss = NAN, again = NAN;
  EXPECT(sb_loss_table_create(g.model, g.backend, SB_ESTIMATOR_HESSIAN, LEAST, MOST, &table) ==
         SB_ERR_UNSUPPORTED);
  EXPECT_OK(sb_loss_table_create(g.model, g.backend, SB_ESTIMATOR_DIAGONAL, LEAST, MOST, &table));
  EXPECT_OK(sb_loss_table_measure(table, g.pass, true, &loss));
  EXPECT_OK(sb_pass_loss(g.pass, &again));
  EXPECT(loss == again);
  plain p = plain_of(&g, g.pass, T);
  size_t n = 0;
  for (size_t i = 0; i < g.model->arch.matrix_count; i++) {
    const sb_matrix *matrix = &g.model->matrices[i];
    size_t first, end;
    sb_model_owned_blocks(g.model, g.model->arch.tensors[matrix->tensor].layer, world.rank, &first,
                          &end);
    float *w = dense_weights(&g, matrix);
    for (size_t k = 0;
         k < sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling); k++) {
      if (matrix->first_block + k < first || matrix->first_block + k >= end) continue;
      const double energy = 0.5 * (T - 1) / SEQUENCES * plain_energy(&p, i, k, w);
      for (unsigned b = 0; b < SB_WIDTHS; b++) {
        const double want = b >= LEAST && b <= MOST
                                ? energy * sb_trellis_error(SB_TRELLIS_12, b) * (b == 1 ? 2.2 : 1)
                                : 0;
        EXPECT(fabs(sb_loss_table_losses(table)[n][b] - want) <= 2e-6 * want);
      }
      EXPECT(energy > 0);
      n++;
    }
    free(w);
  }
  EXPECT(n == sb_model_owned_count(g.model));
  plain_free(&p);
  sb_loss_table_free(&table);
  golden_close(&g);
  all_ranks_passed();
}

static void gains_are_differences(void **state) {
  (void)state;
  golden g;
  golden_open(&g, &(golden_setup){.name = "gqa-tied", .gradients = true, GOLDEN_DEFAULTS});
  golden_mixed_bits(g.model, LEAST, MOST, 5);
  const size_t owned = sb_model_owned_count(g.model);
  double *gain = calloc(owned + 1, sizeof *gain), *loss = calloc(owned + 1, sizeof *loss),
         mean = NAN;
  uint8_t *bits = calloc(owned + 1, 1);
  sb_loss_table *table = NULL;
  EXPECT_OK(sb_loss_table_create(g.model, g.backend, SB_ESTIMATOR_HESSIAN, LEAST, MOST, &table));
  EXPECT_OK(sb_loss_table_measure(table, g.pass, false, &mean));
  sb_model_get_bits(g.model, bits);
  sb_loss_table_gains(table, bits, gain, loss);
  const sb_losses *losses = sb_loss_table_losses(table);
  for (size_t i = 0; i < owned; i++) {
    const unsigned b = bits[i];
    EXPECT(gain[i] == (b < MOST ? losses[i][b] - losses[i][b + 1] : 0));
    EXPECT(loss[i] == (b > LEAST ? losses[i][b - 1] - losses[i][b] : 0));
  }
  sb_loss_table_free(&table);
  EXPECT(sb_loss_table_create(g.model, g.backend, SB_ESTIMATOR_TAYLOR, LEAST, MOST, &table) ==
         SB_ERR_INTERNAL);
  EXPECT(table == NULL);
  free(gain);
  free(loss);
  free(bits);
  golden_close(&g);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(against_plain_loops), cmocka_unit_test(is_the_exact_fisher_where_it_must),
    cmocka_unit_test(energies_of_trellises), cmocka_unit_test(gains_are_differences)};
RANKS_MAIN(tests)
