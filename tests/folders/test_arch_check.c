/* The list of tensors against safetensors headers. */
#include "folders/arch_check.h"

#include <stdlib.h>
#include <unistd.h>

#include "tests/support/config_json.h"
#include "tests/support/scratch.h"

/* A sparse safetensors file of the model's tensors, the data all zero; `skip` is left out, `wrong`
 * gets a shape of [wrong_rows, its columns], `dtype` is that of all. */
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
    if (t->dims == 2) n += (size_t)sprintf(header + n, "%zu,", rows);
    n += (size_t)sprintf(header + n, "%zu],\"data_offsets\":[%zu,%zu]}", t->cols, at, at + bytes);
    at += bytes;
  }
  n += (size_t)sprintf(header + n,
                       ",\"model.rotary_emb.inv_freq\":{\"dtype\":\"F32\",\"shape\":[2],\"data_"
                       "offsets\":[%zu,%zu]}}",
                       at, at + 8);
  FILE *file = fopen(path, "wb");
  uint64_t length = n;
  assert_non_null(file);
  assert_int_equal(fwrite(&length, 8, 1, file), 1);
  assert_int_equal(fwrite(header, 1, n, file), n);
  fclose(file);
  assert_int_equal(truncate(path, (off_t)(8 + n + at + 8)), 0);
  free(header);
}

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
    {NULL, NULL, 0, "F32", 4, SB_OK, {"", ""}}, /* whatever config.json says of it */
    {NULL,
     "model.layers.0.self_attn.k_proj.weight",
     4096,
     "BF16",
     2,
     SB_ERR_FORMAT,
     {"[4096, 4096]", "[1024, 4096]"}},
    {NULL, NULL, 0, "F8_E4M3", 1, SB_ERR_UNSUPPORTED, {"F8_E4M3", "BF16"}},
};

/* Every tensor by its own name. */
static sb_status check(const sb_arch *a, const sb_safetensors *weights, const char *path) {
  const sb_tensor_info **tensors = calloc(a->count, sizeof *tensors);
  assert_non_null(tensors);
  for (size_t i = 0; i < a->count; i++)
    tensors[i] = sb_safetensors_find(weights, a->tensors[i].name);
  const sb_status status = sb_arch_check(a, tensors, path);
  free(tensors);
  return status;
}

static const char one_layer[] = "{\"num_hidden_layers\":1,\"vocab_size\":128010}";

static void check_against_files(void **state) {
  (void)state;
  const char *path = scratch_path("model.safetensors");
  sb_arch a;
  sb_safetensors *weights = NULL;
  llama31_arch(one_layer, &a);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    write_model(path, &a, cases[i].skip, cases[i].wrong, cases[i].rows, cases[i].dtype,
                cases[i].element);
    assert_ok(sb_safetensors_open(path, &weights));
    sb_status status = check(&a, weights, path);
    if (status != cases[i].status) fail_msg("case %zu: %d %s", i, (int)status, sb_message());
    if (status != SB_OK) {
      assert_says(path);
      assert_says(cases[i].says[0]);
      assert_says(cases[i].says[1]);
    }
    sb_safetensors_close(&weights);
  }
  sb_arch_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(check_against_files)};
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
