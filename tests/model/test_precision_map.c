/* Maps of precisions: shares of FLOPs by hand, and shapes that a precision cannot carry. */
#include "model/config_read.h"
#include "model/precision_map.h"
#include "tests/support/assertions.h"

#include <math.h>

static sb_arch arch_of(const char *golden) {
  char folder[1024];
  sb_config config;
  sb_arch arch = {0};
  snprintf(folder, sizeof folder, "%s/tests/golden/%s", SB_SOURCE_DIR, golden);
  assert_ok(sb_config_read(folder, &config));
  assert_ok(sb_arch_create(&config, &arch));
  return arch;
}

static void shares_count_flops(void **state) {
  (void)state;
  sb_arch arch = arch_of("gqa-tied");
  sb_precision_map map;
  assert_ok(sb_precision_map_create(&arch, SB_PRECISION_HIGH, &map));
  assert_false(sb_precision_map_is_low(&map));
  assert_true(sb_precision_map_share(&map, &arch, 16) == 1.0);
  /* One GEMM of down of layer 1 in fp4, two in fp8; layer 0 all in fp8 but for q. */
  const sb_model_tensor *down = sb_arch_tensor(&arch, SB_ROLE_DOWN, 1);
  sb_precision *of_down = sb_precision_map_of(&map, &arch, 1, down->matrix);
  of_down[SB_FPROP] = SB_PRECISION_NVFP4;
  of_down[SB_DGRAD] = SB_PRECISION_FP8_128;
  of_down[SB_WGRAD] = SB_PRECISION_MXFP8;
  sb_precision_map_set_layers(&map, &arch, 0, 1, SB_PRECISION_FP8_TENSOR);
  const size_t q = sb_arch_tensor(&arch, SB_ROLE_Q, 0)->matrix;
  for (int g = 0; g < SB_GEMM_KINDS; g++)
    sb_precision_map_of(&map, &arch, 0, q)[g] = SB_PRECISION_HIGH;
  assert_true(sb_precision_map_is_low(&map));
  /* hidden 48, 4 heads and 2 KV heads of 12, intermediate 136, two layers */
  const double layer = 2 * 48 * 48 + 2 * 24 * 48 + 3 * 136 * 48, mlp = 136 * 48, all = 6 * layer;
  assert_true(fabs(sb_precision_map_share(&map, &arch, 4) - mlp / all) < 1e-12);
  assert_true(fabs(sb_precision_map_share(&map, &arch, 8) -
                   (2 * mlp + 3 * (layer - 48 * 48)) / all) < 1e-12);
  sb_precision_map_free(&map);
  sb_arch_free(&arch);
}

static void shapes_that_cannot_be_carried_are_named(void **state) {
  (void)state;
  sb_arch arch = arch_of("gqa-tied"); /* 48 x 48, 24 x 48, 136 x 48, 48 x 136 */
  sb_precision_map map;
  assert_ok(sb_precision_map_create(&arch, SB_PRECISION_FP4_128, &map));
  assert_ok(sb_precision_map_check(&map, &arch, "p.json"));
  const sb_model_tensor *o = sb_arch_tensor(&arch, SB_ROLE_O, 1);
  sb_precision_map_of(&map, &arch, 1, o->matrix)[SB_DGRAD] = SB_PRECISION_NVFP4; /* 48 = 3 x 16 */
  assert_ok(sb_precision_map_check(&map, &arch, "p.json"));
  sb_precision_map_of(&map, &arch, 1, o->matrix)[SB_DGRAD] = SB_PRECISION_MXFP4;
  assert_int_equal(sb_precision_map_check(&map, &arch, "p.json"), SB_ERR_UNSUPPORTED);
  assert_string_equal(
      sb_message(), "p.json: layer 1: model.layers.1.self_attn.o_proj.weight [48, 48] cannot have "
                    "mxfp4 in dgrad: rows and columns must be multiples of 32; give it another "
                    "precision");
  sb_precision_map_free(&map);
  assert_ok(sb_precision_map_create(&arch, SB_PRECISION_NVFP4, &map));
  assert_int_equal(sb_precision_map_check(&map, &arch, "nvfp4"), SB_ERR_UNSUPPORTED);
  assert_non_null(strstr(sb_message(), "k_proj.weight [24, 48]"));
  sb_precision_map_free(&map);
  sb_arch_free(&arch);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(shares_count_flops),
                                     cmocka_unit_test(shapes_that_cannot_be_carried_are_named)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
