/* Coded models: every block row is what plain encoding of its source rows gives, all else is as the
 * source has it; filling one from chosen grids and codes gives the same; a model without codes is
 * not written. */
#include "kernels/blockrow.h"
#include "pass/fingerprint.h"
#include "quant/encode.h"
#include "tests/support/golden.h"
#include "tests/support/shared_scratch.h"

/* The units of a group of both models, on every rank. Collective. */
static size_t compare_group(golden *g, sb_model *coded, size_t group) {
  sb_model *m = g->model;
  const void *image, *codes;
  size_t rows_of_codes = 0;
  EXPECT_OK(sb_store_acquire(m->store, group, &image));
  EXPECT_OK(sb_store_acquire(coded->store, group, &codes));
  for (size_t p = m->group_place[group]; p < m->group_place[group + 1]; p++) {
    const sb_place *place = &m->places[p];
    const sb_matrix *matrix = sb_model_place_matrix(m, place);
    for (size_t unit = 0; unit < place->units; unit++) {
      const size_t u = place->first_unit + unit;
      const char *from = (const char *)image + sb_store_offset(m->store, group, u);
      const uint8_t *got = (const uint8_t *)codes + sb_store_offset(coded->store, group, u);
      size_t first, rows;
      if (!matrix) {
        sb_place_rows(m, place, unit, &first, &rows);
        EXPECT(memcmp(got, from, rows * sb_model_row_bytes(m, place->tensor)) == 0);
        continue;
      }
      const sb_tiling *tiling = &matrix->tiling;
      const uint8_t *bits = m->bits + matrix->first_block + unit * sb_tiling_block_cols(tiling);
      const size_t bytes = sb_blockrow_bytes(tiling, unit, bits, m->blocking.code_kind);
      uint8_t *expected = NULL;
      EXPECT_OK(sb_alloc_raw(&expected, bytes, 1, "test"));
      sb_blockrow_encode(expected, from, m->dtypes[place->tensor], tiling, unit, bits,
                         m->blocking.code_kind, NULL);
      EXPECT(memcmp(got, expected, bytes) == 0);
      sb_free(&expected);
      rows_of_codes++;
    }
  }
  EXPECT_OK(sb_store_release(coded->store, group));
  EXPECT_OK(sb_store_release(m->store, group));
  return rows_of_codes;
}

static sb_status choose_row(void *context, const sb_encode_row *row) {
  const sb_tiling *tiling = &row->matrix->tiling;
  const size_t rows = sb_tiling_rows_of(tiling, row->index);
  sb_grid *grids = NULL;
  uint8_t *codes = NULL;
  size_t *count = context;
  EXPECT_OK(sb_alloc(&grids, rows * sb_tiling_block_cols(tiling), sizeof *grids, "test"));
  EXPECT_OK(sb_alloc(&codes, rows * tiling->cols, 1, "test"));
  sb_blockrow_choose(grids, codes, row->weights, row->dtype, tiling, row->index, row->bits,
                     row->code_kind, row->importance);
  sb_encode_codes(row, grids, codes, NULL);
  sb_free(&grids);
  sb_free(&codes);
  (*count)++;
  return SB_OK;
}

/* A coded model filled group by group. Collective. */
static void fill(sb_model *source, sb_model *coded, size_t *count) {
  for (size_t group = 0; group < source->groups; group++) {
    const void *image;
    EXPECT_OK(sb_store_acquire(source->store, group, &image));
    sb_encode_copy(source, coded, group, image);
    EXPECT_OK(sb_encode_visit(source, coded, group, image, choose_row, count));
    EXPECT_OK(sb_store_release(source->store, group));
  }
}

static void check(const char *name, sb_blocking blocking, uint64_t seed) {
  golden g;
  golden_setup setup = {.name = name, GOLDEN_DEFAULTS};
  sb_model *nearest = NULL, *filled = NULL;
  size_t rows = 0, own = 0;
  uint64_t one = 0, other = 1, all;
  setup.blocking = blocking;
  golden_open(&g, &setup);
  golden_mixed_bits(g.model, 1, 8, seed);
  EXPECT_OK(sb_encode_nearest(g.model, &nearest));
  EXPECT(nearest->coding == SB_CODING_CODES && nearest->blocks == g.model->blocks);
  EXPECT(memcmp(nearest->bits, g.model->bits, g.model->blocks) == 0);
  for (size_t group = 0; group < g.model->groups; group++)
    rows += compare_group(&g, nearest, group);

  EXPECT_OK(sb_encode_create(g.model, &filled));
  fill(g.model, filled, &own);
  all = own;
  EXPECT(MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_UINT64_T, MPI_SUM, world.comm) == MPI_SUCCESS);
  EXPECT(all == rows && rows > 0); /* each by one rank */
  EXPECT_OK(sb_model_fingerprint(nearest, &one));
  EXPECT_OK(sb_model_fingerprint(filled, &other));
  EXPECT(one == other);
  sb_model_free(&nearest);
  sb_model_free(&filled);
  golden_close(&g);
}

static void encodes(void **state) {
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++) {
    check(golden_names[i], (sb_blocking){16, 32, SB_GRID_ASYMMETRIC}, i);
    check(golden_names[i], (sb_blocking){7, 10, SB_GRID_SYMMETRIC}, i + 100);
  }
  all_ranks_passed();
}

static void refuses_a_source(void **state) {
  const golden_setup setup = {.name = "gqa-tied", GOLDEN_DEFAULTS};
  golden g;
  sb_output_stats stats;
  (void)state;
  scratch_begin();
  golden_open(&g, &setup);
  golden_mixed_bits(g.model, 1, 8, 1);
  sb_destination out = {0};
  EXPECT(sb_output_write(g.model, &out, 1, &stats) == SB_ERR_INTERNAL);
  EXPECT(strstr(sb_message(), "has no codes yet") != NULL);
  golden_close(&g);
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(encodes),
                                          cmocka_unit_test(refuses_a_source)};

RANKS_MAIN(tests)
