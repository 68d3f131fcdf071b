/* The list of tensors and its counts. */
#include "model/arch.h"

#include "tests/support/config_json.h"

static void smollm2_tensors(void **state) {
  (void)state;
  sb_config c;
  sb_arch a;
  assert_ok(parse_config(smollm2, "{}", false, &c));
  assert_ok(sb_arch_create(&c, &a));
  assert_int_equal(a.count, 272);            /* as the published file has */
  assert_int_equal(a.parameters, 134515008); /* as the model card says */
  assert_int_equal(a.linear_parameters,
                   106168320); /* 30 x (576 x 576 x 2 + 192 x 576 x 2 + 1536 x 576 x 3) */
  assert_string_equal(a.tensors[0].name, "model.embed_tokens.weight");
  assert_string_equal(a.tensors[1].name, "model.norm.weight");
  static const char *const names[] = {
      "input_layernorm",  "self_attn.q_proj", "self_attn.k_proj",
      "self_attn.v_proj", "self_attn.o_proj", "post_attention_layernorm",
      "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
  static const sb_role roles[] = {SB_ROLE_INPUT_NORM, SB_ROLE_Q,  SB_ROLE_K,
                                  SB_ROLE_V,          SB_ROLE_O,  SB_ROLE_POST_NORM,
                                  SB_ROLE_GATE,       SB_ROLE_UP, SB_ROLE_DOWN};
  static const size_t shapes[][2] = {{1, 576}, {576, 576},  {192, 576},  {192, 576}, {576, 576},
                                     {1, 576}, {1536, 576}, {1536, 576}, {576, 1536}};
  for (size_t i = 0; i < 9; i++) {
    char name[96];
    const sb_model_tensor *t = sb_arch_tensor(&a, roles[i], 29);
    snprintf(name, sizeof name, "model.layers.29.%s.weight", names[i]);
    assert_string_equal(t->name, name);
    assert_ptr_equal(t, &a.tensors[2 + 29 * 9 + i]);
    assert_int_equal(t->rows, shapes[i][0]);
    assert_int_equal(t->cols, shapes[i][1]);
    assert_int_equal(t->layer, 29);
    assert_int_equal(t->is_linear, i != 0 && i != 5);
    assert_int_equal(t->dims, t->is_linear ? 2 : 1);
  }
  assert_int_equal(sb_arch_index(&a, SB_ROLE_LM_HEAD, 0), 0);
  sb_arch_free(&a);
}

static void untied_and_wide_heads(void **state) {
  (void)state;
  sb_config c;
  sb_arch a;
  assert_ok(parse_config(llama31, "{\"head_dim\":160}", false, &c));
  assert_ok(sb_arch_create(&c, &a));
  assert_int_equal(a.count, 3 + 32 * 9);
  assert_string_equal(a.tensors[2].name, "lm_head.weight");
  assert_int_equal(sb_arch_tensor(&a, SB_ROLE_Q, 0)->rows, 5120);
  assert_int_equal(sb_arch_tensor(&a, SB_ROLE_O, 0)->cols, 5120);
  assert_int_equal(sb_arch_tensor(&a, SB_ROLE_V, 31)->rows, 1280);
  sb_arch_free(&a);
  assert_ok(parse_config(llama31, "{}", false, &c));
  assert_ok(sb_arch_create(&c, &a));
  assert_true(a.parameters ==
              8030261248); /* as the model card's index says, 16060522496 bytes of bf16 */
  sb_arch_free(&a);
}

/* Counted token by token and product by product. */
static void flops(void **state) {
  (void)state;
  sb_config c;
  sb_arch a;
  size_t T = 5;
  assert_ok(parse_config(smollm2, "{\"num_hidden_layers\":2}", false, &c));
  assert_ok(sb_arch_create(&c, &a));
  double count = 0.0, attention = 0.0;
  for (size_t t = 0; t < T; t++) {
    for (size_t i = 0; i < a.count; i++)
      if (a.tensors[i].is_linear) count += 2.0 * (double)(a.tensors[i].rows * a.tensors[i].cols);
    count += 2.0 * 49152.0 * 576.0;
    for (size_t seen = 0; seen <= t; seen++) attention += 2 * 9 * (2.0 * 64.0 + 2.0 * 64.0);
  }
  assert_true(sb_arch_forward_flops(&a, T) == count + attention);
  assert_true(sb_arch_gradient_flops(&a, T) > 3.0 * count &&
              sb_arch_gradient_flops(&a, T) < 4.0 * count + 5.0 * attention);
  sb_arch_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(smollm2_tensors),
                                     cmocka_unit_test(untied_and_wide_heads),
                                     cmocka_unit_test(flops)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
