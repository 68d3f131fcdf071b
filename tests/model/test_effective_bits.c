/* Effective bits of uniform maps against the sizes of really packed block rows
 * (kernels/blockrow.h), and by hand. */
#include "model/effective_bits.h"

#include <math.h>

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
    assert_true(fabs(sb_effective_bits_uniform(&a, 128, 128, b, SB_ASYMMETRIC) - expected) < 1e-12);
    assert_true(fabs(sb_effective_bits_uniform(&a, 128, 128, b, SB_SYMMETRIC) -
                     (b + 16.0 / 128.0 + 2048.0 / 589824.0)) < 1e-12);
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
        bytes += (double)sb_blockrow_bytes(&tiling, row, bits, SB_ASYMMETRIC);
    }
    double count =
        sb_effective_bits_uniform(&a, 32, 48, b, SB_ASYMMETRIC) * (double)a.linear_parameters / 8.0;
    if (fabs(bytes - count) > 1e-6) fail_msg("%u bits: %.1f packed, %.1f counted", b, bytes, count);
  }
  sb_arch_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(by_hand),
                                     cmocka_unit_test(against_packed_rows)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
