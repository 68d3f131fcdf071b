/* The list of tensors, its counts, and its check against safetensors headers. */
#include "model/arch_check.h"

#include <stdlib.h>
#include <unistd.h>

#include "tests/model/model_test.h"

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
  static const char *const names[] = {"input_layernorm",  "self_attn.q_proj", "self_attn.k_proj",
                                      "self_attn.v_proj", "self_attn.o_proj", "post_attention_layernorm",
                                      "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
  static const size_t shapes[][2] = {{1, 576}, {576, 576},  {192, 576},  {192, 576}, {576, 576},
                                     {1, 576}, {1536, 576}, {1536, 576}, {576, 1536}};
  for (size_t i = 0; i < 9; i++) {
    char name[96];
    const sb_model_tensor *t = sb_arch_tensor(&a, (sb_role)(SB_ROLE_INPUT_NORM + i), 29);
    snprintf(name, sizeof name, "model.layers.29.%s.weight", names[i]);
    assert_string_equal(t->name, name);
    assert_ptr_equal(t, &a.tensors[2 + 29 * 9 + i]);
    assert_int_equal(t->rows, shapes[i][0]);
    assert_int_equal(t->cols, shapes[i][1]);
    assert_int_equal(t->layer, 29);
    assert_int_equal(t->is_linear, i != 0 && i != 5);
    assert_int_equal(t->rank, t->is_linear ? 2 : 1);
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
  assert_true(a.parameters == 8030261248); /* as the model card's index says, 16060522496 bytes of bf16 */
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

/* A sparse safetensors file of the model's tensors, the data all zero; `skip` is left out, `wrong` gets a
 * shape of [wrong_rows, its columns], `dtype` is that of all. */
static void write_model(const char *path, const sb_arch *a, const char *skip, const char *wrong,
                        size_t wrong_rows, const char *dtype, size_t element) {
  char *header = malloc(256 * (a->count + 2));
  size_t n = 0, at = 0;
  assert_non_null(header);
  n += (size_t)sprintf(header, "{\"__metadata__\":{\"format\":\"pt\"}");
  for (size_t i = 0; i < a->count; i++) {
    const sb_model_tensor *t = &a->tensors[i];
    if (skip && strcmp(t->name, skip) == 0) continue;
    size_t rows = wrong && strcmp(t->name, wrong) == 0 ? wrong_rows : t->rows,
           bytes = rows * t->cols * element;
    n += (size_t)sprintf(header + n, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, dtype);
    if (t->rank == 2) n += (size_t)sprintf(header + n, "%zu,", rows);
    n += (size_t)sprintf(header + n, "%zu],\"data_offsets\":[%zu,%zu]}", t->cols, at, at + bytes);
    at += bytes;
  }
  n += (size_t)sprintf(
      header + n,
      ",\"model.rotary_emb.inv_freq\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[%zu,%zu]}}", at,
      at + 8);
  FILE *file = fopen(path, "wb");
  uint64_t length = n;
  assert_non_null(file);
  assert_int_equal(fwrite(&length, 8, 1, file), 1);
  assert_int_equal(fwrite(header, 1, n, file), n);
  fclose(file);
  assert_int_equal(truncate(path, (off_t)(8 + n + at + 8)), 0);
  free(header);
}

static void check_against_files(void **state) {
  (void)state;
  char path[] = "/tmp/sb_arch_XXXXXX.safetensors";
  sb_config c;
  sb_arch a;
  sb_safetensors *weights = NULL;
  int fd = mkstemps(path, 12);
  assert_true(fd >= 0);
  close(fd);
  assert_ok(parse_config(llama31, "{\"num_hidden_layers\":1,\"vocab_size\":128010}", false, &c));
  assert_ok(sb_arch_create(&c, &a));
  static const struct {
    const char *skip, *wrong;
    size_t rows;
    const char *dtype;
    size_t element;
    sb_status status;
    const char *says[2];
  } cases[] = {
      {NULL, NULL, 0, "BF16", 2, SB_OK, {"", ""}},
      {"lm_head.weight", NULL, 0, "F16", 2, SB_ERR_FORMAT, {"lm_head.weight", "tie_word_embeddings"}},
      {"model.layers.0.mlp.up_proj.weight",
       NULL,
       0,
       "BF16",
       2,
       SB_ERR_FORMAT,
       {"model.layers.0.mlp.up_proj", "missing"}},
      {NULL, NULL, 0, "F32", 4, SB_ERR_FORMAT, {"q_proj.weight is F32", "bfloat16"}},
      {NULL,
       "model.layers.0.self_attn.k_proj.weight",
       4096,
       "BF16",
       2,
       SB_ERR_FORMAT,
       {"[4096, 4096]", "[1024, 4096]"}},
      {NULL, NULL, 0, "F8_E4M3", 1, SB_ERR_UNSUPPORTED, {"F8_E4M3", "BF16"}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    write_model(path, &a, cases[i].skip, cases[i].wrong, cases[i].rows, cases[i].dtype, cases[i].element);
    assert_ok(sb_safetensors_open(path, &weights));
    sb_status status = sb_arch_check(&a, weights, path);
    if (status != cases[i].status) fail_msg("case %zu: %d %s", i, (int)status, sb_message());
    if (status != SB_OK) {
      assert_says(path);
      assert_says(cases[i].says[0]);
      assert_says(cases[i].says[1]);
    }
    sb_safetensors_close(&weights);
  }
  sb_arch_free(&a);
  /* a tied model may carry the head nevertheless: the untied file, read with a tied list */
  assert_ok(sb_arch_create(&c, &a));
  write_model(path, &a, NULL, NULL, 0, "BF16", 2);
  sb_arch_free(&a);
  c.tie_embeddings = true;
  assert_ok(sb_arch_create(&c, &a));
  assert_ok(sb_safetensors_open(path, &weights));
  assert_ok(sb_arch_check(&a, weights, path));
  sb_safetensors_close(&weights);
  sb_arch_free(&a);
  unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(smollm2_tensors),
                                     cmocka_unit_test(untied_and_wide_heads), cmocka_unit_test(flops),
                                     cmocka_unit_test(check_against_files)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
