/* Effective bits of uniform maps against the sizes of really packed block rows
 * (kernels/blockrow.h), and by hand. */
#include "model/effective_bits.h"

#include <math.h>

#include "base/limits.h"
#include "kernels/blockrow.h"
#include "tests/support/config_json.h"

static void by_hand(void **state) {
  (void)state;
  /* all matrices 128 x 128 or multiples: every group has 128 columns */
  sb_config c = {.vocab = 10,
                 .hidden = 256,
                 .intermediate = 512,
                 .layers = 3,
                 .heads = 4,
                 .kv_heads = 2,
                 .head_dim = 64};
  sb_arch a;
  assert_ok(sb_arch_create_of(&sb_family_llama, &c, &a));
  for (unsigned b = 1; b <= 8; b++) {
    /* bit maps: 16 block rows per layer, each padded to 16 bytes, over the layer's 589824 weights
     */
    double expected = b + (b == 1 ? 32.0 : 16.0 + b) / 128.0 + 2048.0 / 589824.0;
    assert_true(fabs(sb_effective_bits_uniform(&a, 128, 128, b, SB_GRID_ASYMMETRIC) - expected) <
                1e-12);
    assert_true(fabs(sb_effective_bits_uniform(&a, 128, 128, b, SB_GRID_SYMMETRIC) -
                     (b + 16.0 / 128.0 + 2048.0 / 589824.0)) < 1e-12);
  }
  sb_arch_free(&a);
}

/* One matrix, block by block: its bytes at every width, and those of the cheapest width in
 * [min_bits, max_bits] of each block; the bit maps are in both. Also checks the range of its rows.
 */
static void sum_matrix(const sb_tiling *t, sb_code_kind code_kind, unsigned min_bits,
                       unsigned max_bits, uint64_t matrix[SB_WIDTHS], uint64_t *of_blocks) {
  for (size_t row = 0; row < sb_tiling_block_rows(t); row++) {
    const size_t map = sb_blockrow_map_bytes(t);
    size_t low, high, least_row = map, most_row = map;
    *of_blocks += map;
    for (unsigned b = 1; b <= 8; b++) matrix[b] += map;
    for (size_t col = 0; col < sb_tiling_block_cols(t); col++) {
      size_t least = SIZE_MAX, least_any = SIZE_MAX, most_any = 0;
      for (unsigned b = 1; b <= 8; b++) {
        const size_t bytes =
            sb_block_bytes(sb_tiling_rows_of(t, row), sb_tiling_cols_of(t, col), b, code_kind);
        if (bytes < least_any) least_any = bytes;
        if (bytes > most_any) most_any = bytes;
        if (b >= min_bits && b <= max_bits && bytes < least) least = bytes;
        matrix[b] += bytes;
      }
      *of_blocks += least;
      least_row += least_any;
      most_row += most_any;
    }
    sb_blockrow_range(t, row, code_kind, &low, &high);
    assert_int_equal(low, least_row);
    assert_int_equal(high, most_row);
  }
}

static void check_range(const sb_arch *a, sb_blocking blocking, unsigned min_bits,
                        unsigned max_bits) {
  uint64_t expected[SB_WIDTH_OF_MODEL + 1] = {[SB_WIDTH_OF_MODEL] = UINT64_MAX},
                                        whole[SB_WIDTHS] = {0};
  for (size_t i = 0; i < a->matrix_count; i++) {
    const sb_model_tensor *t = &a->tensors[a->matrices[i]];
    const sb_tiling tiling = {t->rows, t->cols, blocking.rows, blocking.cols};
    uint64_t matrix[SB_WIDTHS] = {0}, least = UINT64_MAX;
    sum_matrix(&tiling, blocking.code_kind, min_bits, max_bits, matrix,
               &expected[SB_WIDTH_OF_BLOCK]);
    for (unsigned b = min_bits; b <= max_bits; b++) {
      whole[b] += matrix[b];
      if (matrix[b] < least) least = matrix[b];
    }
    expected[SB_WIDTH_OF_MATRIX] += least;
  }
  for (unsigned b = min_bits; b <= max_bits; b++)
    if (whole[b] < expected[SB_WIDTH_OF_MODEL]) expected[SB_WIDTH_OF_MODEL] = whole[b];
  expected[SB_WIDTH_OF_TIE] = expected[SB_WIDTH_OF_MATRIX];
  for (int scope = 0; scope <= SB_WIDTH_OF_MODEL; scope++) {
    uint64_t least, most;
    sb_storage_range(a, &blocking, (sb_width_scope)scope, min_bits, max_bits, &least, &most);
    assert_int_equal(least, 8 * expected[scope]);
    assert_int_equal(most, 8 * whole[max_bits]);
  }
}

/* Where 1 bit is dearer than 2, where only blocks at the edges are narrow, where all widths cost
 * the same. */
static void range(void **state) {
  (void)state;
  static const size_t blocks[][2] = {{1, 1},   {1, 2},   {3, 7},      {128, 8},
                                     {16, 96}, {32, 48}, {1024, 1024}};
  sb_config c = {.vocab = 10,
                 .hidden = 100,
                 .intermediate = 170,
                 .layers = 2,
                 .heads = 5,
                 .kv_heads = 1,
                 .head_dim = 20};
  sb_arch a;
  assert_ok(sb_arch_create_of(&sb_family_llama, &c, &a));
  assert_int_equal(sb_limit_bits.least, SB_MIN_BITS);
  assert_int_equal(sb_limit_bits.most, SB_MAX_BITS);
  for (size_t k = 0; k < sizeof blocks / sizeof *blocks; k++)
    for (int symmetric = 0; symmetric < 2; symmetric++) {
      const sb_blocking blocking = {blocks[k][0], blocks[k][1],
                                    symmetric ? SB_GRID_SYMMETRIC : SB_GRID_ASYMMETRIC};
      check_range(&a, blocking, 1, 8);
      check_range(&a, blocking, 1, 1);
      check_range(&a, blocking, 2, 4);
    }
  sb_arch_free(&a);
}

static void against_packed_rows(void **state) {
  (void)state;
  sb_config c = {.vocab = 10,
                 .hidden = 200,
                 .intermediate = 330,
                 .layers = 2,
                 .heads = 5,
                 .kv_heads = 1,
                 .head_dim = 30};
  sb_arch a;
  assert_ok(sb_arch_create_of(&sb_family_llama, &c, &a));
  for (unsigned b = 1; b <= 8; b++) {
    double bytes = 0.0;
    uint8_t bits[16];
    memset(bits, (int)b, sizeof bits);
    for (size_t i = 0; i < a.count; i++) {
      const sb_model_tensor *t = &a.tensors[i];
      if (!t->is_linear) continue;
      sb_tiling tiling = {t->rows, t->cols, 32, 48};
      for (size_t row = 0; row < sb_tiling_block_rows(&tiling); row++)
        bytes += (double)sb_blockrow_bytes(&tiling, row, bits, SB_GRID_ASYMMETRIC);
    }
    double count = sb_effective_bits_uniform(&a, 32, 48, b, SB_GRID_ASYMMETRIC) *
                   (double)a.linear_parameters / 8.0;
    if (fabs(bytes - count) > 1e-6) fail_msg("%u bits: %.1f packed, %.1f counted", b, bytes, count);
  }
  sb_arch_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(by_hand), cmocka_unit_test(range),
                                     cmocka_unit_test(against_packed_rows)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
