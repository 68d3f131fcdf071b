/* Rules of readers and ties, held against lists that are written here by hand. */
#include "model/width_rules.h"

#include "model/ties.h"
#include "llama.h"

static void sets(void **state) {
  char text[SB_WIDTH_SET_TEXT];
  (void)state;
  sb_width_set_text(sb_width_rules_for(SB_WIDTHS_FOR_GPTQ)->widths, text);
  assert_string_equal(text, "2, 3, 4, 8");
  sb_width_set_text(sb_width_range(1, 8), text);
  assert_string_equal(text, "1, 2, 3, 4, 5, 6, 7, 8");
  const sb_width_set set = sb_width_rules_for(SB_WIDTHS_FOR_SGLANG)->widths;
  assert_int_equal(sb_width_at_least(set, 1), 4);
  assert_int_equal(sb_width_at_least(set, 5), 8);
  assert_int_equal(sb_width_at_most(set, 7), 4);
  assert_int_equal(sb_width_at_most(set, 3), 0);
  assert_int_equal(sb_width_at_most(set, 0), 0);
}

/* Layers have q, k, v, o, gate, up, down, in the order of their roles' enumeration or another. */
static void ties(void **state) {
  (void)state;
  sb_arch a = llama_of(2, 256, 640, 4, 2);
  uint32_t item[14];
  assert_int_equal(a.matrix_count, 14);
  assert_int_equal(sb_items_of(&a, SB_WIDTH_OF_MATRIX, item), 14);
  assert_int_equal(sb_items_of(&a, SB_WIDTH_OF_MODEL, item), 1);
  assert_int_equal(sb_items_of(&a, SB_WIDTH_OF_TIE, item), 8);
  for (size_t i = 0; i < 14; i++)
    for (size_t k = 0; k < 14; k++) {
      const sb_model_tensor *t = &a.tensors[a.matrices[i]], *u = &a.tensors[a.matrices[k]];
      const bool attention = t->role <= SB_ROLE_V && u->role <= SB_ROLE_V,
                 mlp = (t->role == SB_ROLE_GATE || t->role == SB_ROLE_UP) &&
                       (u->role == SB_ROLE_GATE || u->role == SB_ROLE_UP);
      const bool tied = t->layer == u->layer && (i == k || attention || mlp);
      assert_int_equal(item[i] == item[k], tied);
    }
  sb_arch_free(&a);
}

static void groups(void **state) {
  (void)state;
  const sb_width_rules *vllm = sb_width_rules_for(SB_WIDTHS_FOR_VLLM);
  static const struct {
    size_t hidden, intermediate, heads, kv_heads, parallel, length, most;
  } cases[] = {{256, 768, 4, 4, 1, 128, 2}, /* o has 256 inputs: 2 ranks of 128 */
               {256, 768, 4, 4, 4, 64, 4},  /* with groups of 64: 4 ranks */
               {576, 1536, 9, 3, 1, 64, 1}, /* SmolLM2: 576 = 9 x 64, 3 heads */
               {256, 704, 4, 4, 1, 64, 1},  /* 704 = 11 x 64 */
               {256, 704, 4, 4, 2, 32, 2},  /* on 2 ranks 352 = 11 x 32 */
               {200, 400, 4, 4, 1, 0, 1}};  /* 200 is no multiple of 32 */
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    sb_arch a =
        llama_of(2, cases[i].hidden, cases[i].intermediate, cases[i].heads, cases[i].kv_heads);
    const size_t length = sb_width_rules_group(vllm, &a, cases[i].parallel);
    assert_int_equal(length, cases[i].length);
    if (length > 0) {
      assert_ok(sb_width_rules_check_group(vllm, &a, length, cases[i].parallel));
      assert_int_equal(sb_width_rules_parallel(vllm, &a, length), cases[i].most);
    }
    sb_arch_free(&a);
  }
  sb_arch a = llama_of(2, 576, 1536, 9, 3);
  assert_int_equal(sb_width_rules_check_group(vllm, &a, 128, 1), SB_ERR_UNSUPPORTED);
  assert_says("q_proj.weight has 576 inputs, which groups of 128 do not divide");
  assert_int_equal(sb_width_rules_check_group(vllm, &a, 64, 2), SB_ERR_UNSUPPORTED);
  assert_says("on each of 2 ranks");
  assert_int_equal(sb_width_rules_check_group(vllm, &a, 96, 1), SB_ERR_UNSUPPORTED);
  assert_says("groups of 96 weights");
  assert_ok(sb_width_rules_check_group(sb_width_rules_for(SB_WIDTHS_FOR_ANY), &a, 96, 1));
  sb_arch_free(&a);
}

/* Sides that SGLang's kernel takes: on each rank inputs in 128s, outputs of what is fused in 64s.
 */
static void sides(void **state) {
  (void)state;
  const sb_width_rules *sglang = sb_width_rules_for(SB_WIDTHS_FOR_SGLANG);
  sb_arch a = llama_of(2, 512, 1536, 8, 2); /* q + k + v: 512 + 2 x 128 outputs */
  assert_int_equal(sb_width_rules_group(sglang, &a, 1), 128);
  assert_int_equal(sb_width_rules_parallel(sglang, &a, 32), 2); /* 2 key-value heads */
  sb_arch_free(&a);
  a = llama_of(2, 256, 768, 4, 4); /* on 4 ranks o has 64 inputs */
  assert_int_equal(sb_width_rules_parallel(sglang, &a, 64), 2);
  assert_int_equal(sb_width_rules_check_group(sglang, &a, 64, 4), SB_ERR_UNSUPPORTED);
  assert_says("o_proj.weight is of a matrix of 256 outputs and 64 inputs on a rank");
  assert_says("fewer --tensor-parallel");
  sb_arch_free(&a);
  a = llama_of(2, 256, 704, 4, 4);
  assert_int_equal(sb_width_rules_group(sglang, &a, 1), 0);
  assert_int_equal(sb_width_rules_check_group(sglang, &a, 64, 1), SB_ERR_UNSUPPORTED);
  assert_says("down_proj.weight is of a matrix of 256 outputs and 704 inputs on a rank");
  assert_ok(sb_width_rules_check_group(sb_width_rules_for(SB_WIDTHS_FOR_VLLM), &a, 64, 1));
  sb_arch_free(&a);
  a = llama_of(2, 256, 640, 4, 4); /* gate + up: 1280 = 20 x 64 outputs, 640 on each of 2 ranks */
  assert_ok(sb_width_rules_check_group(sglang, &a, 128, 1));
  assert_int_equal(sb_width_rules_parallel(sglang, &a, 32), 1); /* down: 320 inputs on each */
  sb_arch_free(&a);
}

enum { SIDE = 64, MATRICES = 14, MOST = 400 };

/* A model of which only shapes and widths are there. */
static sb_model model_of(sb_matrix matrices[MATRICES], uint8_t *bits) {
  sb_model m = {.arch = llama_of(2, 256, 640, 4, 2),
                .blocking = {SIDE, SIDE, SB_GRID_ASYMMETRIC},
                .matrices = matrices,
                .bits = bits};
  size_t first = 0;
  for (size_t i = 0; i < MATRICES; i++) {
    const sb_model_tensor *t = &m.arch.tensors[m.arch.matrices[i]];
    matrices[i] = (sb_matrix){.tiling = {t->rows, t->cols, SIDE, SIDE},
                              .first_block = first,
                              .tensor = m.arch.matrices[i]};
    first += sb_tiling_block_rows(&matrices[i].tiling) * sb_tiling_block_cols(&matrices[i].tiling);
  }
  assert_true(first <= MOST);
  m.blocks = first;
  memset(bits, 4, MOST);
  return m;
}

static const sb_matrix *of_role(const sb_model *m, sb_role role, size_t layer, size_t *blocks) {
  const sb_model_tensor *t = sb_arch_tensor(&m->arch, role, layer);
  const sb_matrix *matrix = sb_model_matrix(m, layer, t->matrix);
  *blocks = sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling);
  return matrix;
}

static void refuses(const sb_model *m, sb_widths_for reader, const char *says) {
  assert_int_equal(sb_width_rules_check(m, reader), SB_ERR_UNSUPPORTED);
  assert_says(says);
}

static void whole_models(void **state) {
  (void)state;
  sb_matrix matrices[MATRICES];
  uint8_t bits[MOST];
  size_t blocks;
  sb_model m = model_of(matrices, bits);
  assert_ok(sb_width_rules_check(&m, SB_WIDTHS_FOR_ANY));
  assert_ok(sb_width_rules_check(&m, SB_WIDTHS_FOR_VLLM));
  assert_ok(sb_width_rules_check(&m, SB_WIDTHS_FOR_GPTQ));
  assert_ok(sb_width_rules_check(&m, SB_WIDTHS_FOR_MLX));
  refuses(&m, SB_WIDTHS_FOR_SGLANG, "codes are of kind grid, which sglang does not take");
  refuses(&m, SB_WIDTHS_FOR_EXL3, "quantize --widths-for exl3");
  m.blocking.code_kind = SB_GRID_SIGNED;
  assert_ok(sb_width_rules_check(&m, SB_WIDTHS_FOR_SGLANG));
  const sb_matrix *k = of_role(&m, SB_ROLE_K, 1, &blocks);
  memset(bits + k->first_block, 3, blocks);
  refuses(&m, SB_WIDTHS_FOR_SGLANG,
          "layers.1.self_attn.k_proj.weight has 3 bits, and sglang takes "
          "4, 8");
  refuses(&m, SB_WIDTHS_FOR_VLLM, "computes them as one product");
  assert_ok(sb_width_rules_check(&m, SB_WIDTHS_FOR_GPTQ)); /* module by module */
  bits[k->first_block + 1] = 4;
  refuses(&m, SB_WIDTHS_FOR_GPTQ, "has blocks of 3 and of 4 bits");
  memset(bits + k->first_block, 4, blocks);
  const sb_matrix *down = of_role(&m, SB_ROLE_DOWN, 0, &blocks);
  memset(bits + down->first_block, 7, blocks);
  assert_ok(sb_width_rules_check(&m, SB_WIDTHS_FOR_VLLM));
  refuses(&m, SB_WIDTHS_FOR_MLX, "down_proj.weight has 7 bits, and mlx takes 2, 3, 4, 5, 6, 8");
  memset(bits + down->first_block, 0, blocks);
  refuses(&m, SB_WIDTHS_FOR_VLLM, "down_proj.weight is not quantized");
  memset(bits + down->first_block, 4, blocks);
  m.orders.mode = SB_REORDER_INDEXED;
  refuses(&m, SB_WIDTHS_FOR_VLLM, "--reorder fused");
  sb_arch_free(&m.arch);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sets),  cmocka_unit_test(ties),         cmocka_unit_test(groups),
      cmocka_unit_test(sides), cmocka_unit_test(whole_models),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
