/* Bytes of the whole file against the bytes of a really coded model's store, block by block and by
 * hand; the range of widths against every width. */
#include "model/file_size.h"

#include "kernels/shared/trellis.h"
#include "model/factors.h"
#include "tests/support/golden.h"

/* Bytes of all units of all ranks, and of orders. Collective. */
static uint64_t stored_bytes(sb_model *coded) {
  uint64_t bytes = 0;
  for (size_t g = 0; g < coded->groups; g++) {
    size_t first, end;
    sb_store_owned(coded->store, g, world.rank, &first, &end);
    bytes += sb_store_offset(coded->store, g, end) - sb_store_offset(coded->store, g, first);
  }
  EXPECT(MPI_Allreduce(MPI_IN_PLACE, &bytes, 1, MPI_UINT64_T, MPI_SUM, world.comm) == MPI_SUCCESS);
  return bytes + sb_orders_stored_bytes(&coded->arch, coded->orders.mode, coded->blocking.rows,
                                        coded->blocking.cols);
}

static void set_tables(sb_model *m, int which) {
  for (size_t i = 0; i < m->table_count; i++) {
    const sb_matrix *matrix = &m->tables[i].matrix;
    const size_t count =
        sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling);
    m->tables[i].coded = which >> i & 1;
    for (size_t k = 0; k < count; k++)
      m->bits[matrix->first_block + k] =
          (uint8_t)(m->tables[i].coded ? 1 + mix(matrix->first_block + k) % 8 : 0);
  }
}

static void against_coded_models(void **state) {
  static const sb_blocking blockings[] = {
      {16, 32, SB_GRID_ASYMMETRIC}, {7, 5, SB_GRID_SYMMETRIC}, {32, 48, SB_TRELLIS_12}};
  (void)state;
  for (int i = 0; i < GOLDENS; i++)
    for (int b = 0; b < (i == 0 ? 3 : 2); b++) {
      golden g;
      golden_open(&g, &(golden_setup){.name = golden_names[i],
                                      .threads = 1,
                                      .blocking = blockings[b],
                                      .activation_bytes = (size_t)1 << 30});
      golden_mixed_bits(g.model, 1, 8, 3);
      for (int which = 0; which < 1 << g.model->table_count; which++) {
        sb_model *coded = NULL;
        set_tables(g.model, which);
        if (sb_is_trellis(blockings[b].code_kind)) EXPECT_OK(sb_factors_choose(g.model));
        EXPECT_OK(sb_encode_nearest(g.model, &coded));
        EXPECT(sb_file_bytes(g.model) == stored_bytes(coded));
        EXPECT(sb_file_bytes(coded) == stored_bytes(coded));
        sb_model_free(&coded);
      }
      golden_close(&g);
    }
  all_ranks_passed();
}

/* hidden 128, vocabulary 300, two layers: norms are 5 x 128 numbers of fp16. */
static void by_hand(void **state) {
  (void)state;
  for (int tied = 0; tied < 2; tied++) {
    const sb_config c = {.vocab = 300,
                         .hidden = 128,
                         .intermediate = 256,
                         .layers = 2,
                         .heads = 4,
                         .kv_heads = 2,
                         .head_dim = 32,
                         .tie_embeddings = tied};
    sb_arch a;
    assert_ok(sb_arch_create_of(&sb_family_llama, &c, &a));
    sb_file_shape s = {.arch = &a, .dtype = SB_F16, .blocking = {128, 128, SB_TRELLIS_16}};
    assert_int_equal(sb_file_fixed_bytes(&s), 5 * 128 * 2);
    assert_int_equal(sb_file_tables(&s), tied ? 1 : 2);
    for (size_t i = 0; i < sb_file_tables(&s); i++) {
      assert_int_equal(sb_file_table_source(&s, i), 300 * 128 * 2);
      const sb_tiling t = sb_file_table_tiling(&s, i);
      assert_int_equal(sb_tiling_block_rows(&t), 3);
      /* 5 bits: codes, a scale for each row, a zero point for each row; three bit maps */
      assert_int_equal(sb_matrix_bytes(&t, SB_GRID_ASYMMETRIC, 5),
                       300 * 80 + 300 * 2 + (2 * 80 + 28) + 3 * 16);
      assert_int_equal(sb_matrix_least_bytes(&t, SB_GRID_ASYMMETRIC, 2, 8),
                       sb_matrix_bytes(&t, SB_GRID_ASYMMETRIC, 2));
    }
    s.mode = SB_REORDER_INDEXED;
    assert_int_equal(sb_file_fixed_bytes(&s),
                     5 * 128 * 2 + sb_orders_stored_bytes(&a, SB_REORDER_INDEXED, 128, 128));
    const double weights = (double)(a.linear_parameters + (tied ? 1 : 2) * 300 * 128 + 5 * 128);
    assert_true(sb_file_bits(&a, 1000) == 8000 / weights);
    sb_arch_free(&a);
  }
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(against_coded_models),
                                          cmocka_unit_test(by_hand)};
RANKS_MAIN(tests)
