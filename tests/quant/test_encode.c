/* Coded models: every block row is what plain encoding of its source rows gives, all else is as the
 * source has it; filling one from chosen grids and codes gives the same; a model without codes is
 * not written. */
#include "kernels/blockrow.h"
#include "kernels/shared/blockrow_layout.h"
#include "pass/fingerprint.h"
#include "quant/encode.h"
#include "tests/support/golden.h"
#include "tests/support/shared_scratch.h"

/* Block rows whose codes are chosen here. */
typedef struct choices {
  const sb_model *model;
  size_t count;
} choices;

/* A block row in trellis codes. */
static void encode_trellis(const sb_model *m, const sb_matrix *matrix, size_t unit,
                           const void *from, const uint8_t *bits, uint8_t *out) {
  const size_t blocks = sb_tiling_block_cols(&matrix->tiling);
  const sb_code_kind kind = m->blocking.code_kind;
  sb_trellis_coder *coders = NULL;
  EXPECT_OK(sb_trellis_coders_create(1, kind, bits, blocks, &coders));
  sb_blockrow_encode_trellis(out, from, m->dtypes[matrix->tensor], &matrix->tiling, unit, bits,
                             kind, sb_model_row_key(m, matrix), sb_model_col_factors(m, matrix),
                             coders);
  sb_trellis_coders_free(1, &coders);
}

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
      if (sb_is_trellis(m->blocking.code_kind))
        encode_trellis(m, matrix, unit, from, bits, expected);
      else
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

/* Takes a packed block row apart, as sb_encode_codes takes it. */
static void take_apart(const sb_encode_row *row, const uint8_t *packed, sb_grid *grids,
                       uint8_t *codes, uint16_t *row_factors) {
  const sb_tiling *tiling = &row->matrix->tiling;
  const size_t rows = sb_tiling_rows_of(tiling, row->index), blocks = sb_tiling_block_cols(tiling);
  const sb_blockrow_head head = sb_blockrow_head_of(blocks, rows, row->code_kind);
  const uint8_t *tile = packed + head.codes;
  memcpy(row_factors, packed + head.row_factors, 2 * rows);
  for (size_t j = 0; j < blocks; j++) {
    const sb_trellis t = sb_trellis_of(row->code_kind, row->bits[j]);
    const size_t first = j * tiling->block_cols, cols = sb_tiling_cols_of(tiling, j);
    uint16_t scale;
    memcpy(&scale, packed + head.scales + 2 * j, 2);
    for (size_t r = 0; r < rows; r++) grids[j * rows + r].scale = sb_f16_to_f32(scale);
    for (size_t left = 0; left < cols; left += t.tile_cols)
      for (size_t top = 0; top < rows; top += t.tile_rows, tile += sb_trellis_tile_bytes(&t))
        for (unsigned s = 0; s < SB_TRELLIS_TILE; s++) {
          unsigned r, c;
          sb_trellis_place(&t, s, &r, &c);
          if (top + r < rows && left + c < cols)
            codes[(top + r) * tiling->cols + first + left + c] =
                (uint8_t)sb_bitstring_get(tile, s, t.width);
        }
  }
}

static void choose_trellis(void *context, const sb_encode_row *row, sb_grid *grids,
                           uint8_t *codes) {
  const sb_tiling *tiling = &row->matrix->tiling;
  uint16_t row_factors[SB_GROUP_MAX];
  uint8_t *packed = NULL;
  EXPECT_OK(sb_alloc(&packed, sb_blockrow_bytes(tiling, row->index, row->bits, row->code_kind), 1,
                     "test"));
  encode_trellis(((choices *)context)->model, row->matrix, row->index, row->weights, row->bits,
                 packed);
  take_apart(row, packed, grids, codes, row_factors);
  sb_encode_codes(row, grids, codes, row_factors);
  sb_free(&packed);
}

static sb_status choose_row(void *context, const sb_encode_row *row) {
  const sb_tiling *tiling = &row->matrix->tiling;
  const size_t rows = sb_tiling_rows_of(tiling, row->index);
  sb_grid *grids = NULL;
  uint8_t *codes = NULL;
  choices *c = context;
  EXPECT_OK(sb_alloc(&grids, rows * sb_tiling_block_cols(tiling), sizeof *grids, "test"));
  EXPECT_OK(sb_alloc(&codes, rows * tiling->cols, 1, "test"));
  if (sb_is_trellis(row->code_kind)) {
    choose_trellis(context, row, grids, codes);
  } else {
    sb_blockrow_choose(grids, codes, row->weights, row->dtype, tiling, row->index, row->bits,
                       row->code_kind, row->importance);
    sb_encode_codes(row, grids, codes, NULL);
  }
  sb_free(&grids);
  sb_free(&codes);
  c->count++;
  return SB_OK;
}

/* A coded model filled group by group. Collective. */
static void fill(sb_model *source, sb_model *coded, size_t *count) {
  choices c = {source, 0};
  for (size_t group = 0; group < source->groups; group++) {
    const void *image;
    EXPECT_OK(sb_store_acquire(source->store, group, &image));
    sb_encode_copy(source, coded, group, image);
    EXPECT_OK(sb_encode_visit(source, coded, group, image, choose_row, &c));
    EXPECT_OK(sb_store_release(source->store, group));
  }
  *count = c.count;
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
  check(golden_names[0], (sb_blocking){64, 32, SB_TRELLIS_12}, 1);
  check(golden_names[1], (sb_blocking){50, 27, SB_TRELLIS_12}, 2);
  for (size_t i = 0; i < GOLDENS; i++) {
    check(golden_names[i], (sb_blocking){16, 32, SB_GRID_ASYMMETRIC}, i);
    check(golden_names[i], (sb_blocking){7, 10, i % 2 ? SB_GRID_SIGNED : SB_GRID_SYMMETRIC},
          i + 100);
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
