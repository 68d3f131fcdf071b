/* What EXL3 can carry of a model: sides, and one width for each matrix. */
#include "model/exl3.h"

#include "llama.h"

static void sides(void **state) {
  (void)state;
  static const struct {
    size_t hidden, intermediate;
    const char *says;
  } cases[] = {
      {256, 640, NULL},
      {128, 55296, NULL},
      {576, 640, "self_attn.q_proj.weight is 256x576, and EXL3 takes sides that are multiples"},
      {256, 704, "mlp.gate_proj.weight is 704x256, and EXL3 takes sides"},
      {128, 55424, "mlp.gate_proj.weight is 55424x128, and exllamav3 cuts MLPs wider than 55296"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    sb_arch arch = llama_of(1, cases[i].hidden, cases[i].intermediate, 4, 2);
    const sb_status status = sb_exl3_check_sides(&arch);
    assert_int_equal(status, cases[i].says ? SB_ERR_UNSUPPORTED : SB_OK);
    if (cases[i].says) assert_says(cases[i].says);
    sb_arch_free(&arch);
  }
}

static void widths(void **state) {
  (void)state;
  enum { SIDE = 128, MATRICES = 7 };
  sb_matrix matrices[MATRICES];
  uint8_t bits[64];
  sb_model m = {.arch = llama_of(1, 256, 640, 4, 2), .matrices = matrices, .bits = bits};
  assert_int_equal(m.arch.matrix_count, MATRICES);
  for (size_t i = 0, first = 0; i < MATRICES; i++) {
    const sb_model_tensor *t = &m.arch.tensors[m.arch.matrices[i]];
    matrices[i] = (sb_matrix){.tiling = {t->rows, t->cols, SIDE, SIDE},
                              .first_block = first,
                              .tensor = m.arch.matrices[i]};
    const size_t blocks = t->rows / SIDE * (t->cols / SIDE);
    memset(bits + first, 1 + (int)i, blocks);
    first += blocks;
    m.blocks = first;
  }
  assert_ok(sb_exl3_check_widths(&m));
  for (size_t i = 0; i < MATRICES; i++) assert_int_equal(sb_exl3_width(&m, &matrices[i]), 1 + i);
  bits[m.blocks - 1] = 5;
  assert_int_equal(sb_exl3_check_widths(&m), SB_ERR_UNSUPPORTED);
  assert_says("mlp.down_proj.weight has blocks of 7 and of 5 bits");
  bits[m.blocks - 1] = 0;
  assert_int_equal(sb_exl3_check_widths(&m), SB_ERR_UNSUPPORTED);
  assert_says("mlp.down_proj.weight has blocks that are not quantized");
  sb_arch_free(&m.arch);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(sides), cmocka_unit_test(widths)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
