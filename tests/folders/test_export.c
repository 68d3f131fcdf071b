/* Exported folders: every tensor is what the output folder's codes stand for, or what the source
 * has, in the type that was asked for, in one file or several; and the folder loads as a model. */
#include "folders/export.h"

#include "model/config_read.h"
#include "tests/support/dense.h"
#include "tests/support/random_orders.h"
#include "tests/support/shared_scratch.h"

/* What `dtype` makes of floats. */
static void narrow(float *x, size_t count, sb_dtype dtype) {
  if (dtype == SB_F32) return;
  uint16_t *half = malloc(count * sizeof *half);
  sb_from_f32(half, dtype, x, count);
  sb_to_f32(x, half, dtype, count);
  free(half);
}

/* Every tensor of the exported folder against the source, rounded where it is a matrix. Local. */
static void check_tensors(const golden *source, const char *folder, sb_dtype dtype) {
  const sb_model *m = source->model;
  golden exported;
  snprintf(exported.folder, sizeof exported.folder, "%s", folder);
  exported.model = source->model;
  for (size_t t = 0; t < m->arch.count; t++) {
    const sb_model_tensor *tensor = &m->arch.tensors[t];
    const size_t count = tensor->rows * tensor->cols;
    float *want = dense_named(source, tensor->name), *got = dense_named(&exported, tensor->name);
    const sb_table *table = sb_model_table(m, t);
    const sb_matrix *matrix = tensor->is_linear ? sb_model_matrix(m, tensor->layer, tensor->matrix)
                              : table && table->coded ? &table->matrix
                                                      : NULL;
    if (matrix) {
      float *rounded = dense_rounded(want, m, matrix, 0);
      free(want);
      want = rounded;
    }
    narrow(want, count, dtype);
    EXPECT(memcmp(got, want, count * sizeof *got) == 0);
    free(want);
    free(got);
  }
}

typedef struct kind {
  const char *name;
  sb_dtype dtype;
  uint64_t file_bytes;
  bool tables; /* coded */
} kind;

static const kind kinds[] = {
    {"gqa-tied", SB_F32, 1 << 30, false},    {"gqa-tied", SB_F32, 1 << 30, true},
    {"mha-untied", SB_BF16, 1 << 30, false}, {"mha-untied", SB_BF16, 1 << 30, true},
    {"sharded-f16", SB_F16, 1 << 16, false}, {"f32-single", SB_F32, 1 << 16, true}};

/* Exports `coded`, which is in folder `source`, as commands do. */
static sb_status export(sb_model *coded, const char *source, const char *folder, sb_dtype dtype,
                        uint64_t file_bytes, bool overwrite, sb_hf_folder_stats *stats) {
  sb_destination out = {0};
  sb_status status = sb_destination_begin(&world, folder, overwrite, source, &out);
  SB_THEN(sb_export_dequantized(coded, source, &out, dtype, file_bytes, SB_NO_TICKER, stats));
  sb_destination_end(&out);
  return status;
}

static void dequantized(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    scratch_begin();
    const char *output = scratch_path("output"), *folder = scratch_path("folder");
    golden source;
    sb_output_stats written;
    sb_hf_folder_stats stats = {0};
    sb_model *coded = NULL, *again = NULL;
    golden_open(&source, &(golden_setup){.name = kinds[i].name, GOLDEN_DEFAULTS});
    golden_mixed_bits(source.model, 1, 8, i);
    if (kinds[i].tables) golden_mixed_tables(source.model, 1, 8, i);
    golden_write(&source, output, &written);
    EXPECT_OK(sb_output_load(&world, output, &coded));
    EXPECT_OK(export(coded, output, folder, kinds[i].dtype, kinds[i].file_bytes, false, &stats));
    EXPECT((stats.files == 1) == (kinds[i].file_bytes == 1 << 30) && stats.bytes > 0);
    check_tensors(&source, folder, kinds[i].dtype);
    EXPECT_OK(sb_hf_load(&world, folder, source.model->blocking, true, &again));
    EXPECT(again->config.layers == source.model->config.layers);
    for (size_t t = 0; t < again->arch.count; t++) EXPECT(again->dtypes[t] == kinds[i].dtype);
    /* a second time: not over a folder that is there, unless it is asked for */
    EXPECT(export(coded, output, folder, kinds[i].dtype, kinds[i].file_bytes, false, &stats) !=
           SB_OK);
    EXPECT_OK(export(coded, output, folder, kinds[i].dtype, kinds[i].file_bytes, true, &stats));
    sb_model_free(&again);
    sb_model_free(&coded);
    golden_close(&source);
    scratch_end();
  }
  all_ranks_passed();
}

typedef struct large {
  const char *name;
  float value;
} large;

static sb_status set_first(void *context, sb_model *m, const sb_place *place, size_t unit,
                           void *data) {
  const large *l = context;
  if (unit == place->first_unit && strcmp(m->arch.tensors[place->tensor].name, l->name) == 0)
    memcpy(data, &l->value, sizeof l->value);
  return SB_OK;
}

/* No value becomes infinite: the tensor, the value and a type that has room for it are named. */
static void beyond_the_range(void **state) {
  (void)state;
  static const struct {
    large set;
    sb_dtype dtype;
    const char *said;
  } cases[] = {
      {{"model.norm.weight", -7e4f},
       SB_F16,
       "model.norm.weight[0] is -70000, beyond the range of f16 (65504); use --dtype bf16"},
      {{"model.embed_tokens.weight", 1e9f}, SB_F16, "embed_tokens.weight[0, 0] is 1e+09, beyond"},
      {{"model.norm.weight", 3.4e38f},
       SB_BF16,
       "model.norm.weight[0] is 3.4e+38, beyond the range of bf16 (3.38953e+38); use --dtype f32"},
      {{"model.norm.weight", 65504}, SB_F16, NULL},
      {{"model.norm.weight", 3.4e38f}, SB_F32, NULL}};
  golden source;
  sb_output_stats written;
  sb_hf_folder_stats stats;
  scratch_begin();
  const char *output = scratch_path("output"), *folder = scratch_path("folder");
  golden_open(&source, &(golden_setup){.name = "f32-single", GOLDEN_DEFAULTS});
  golden_mixed_bits(source.model, 1, 8, 3);
  golden_write(&source, output, &written);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    sb_model *coded = NULL;
    EXPECT_OK(sb_output_load(&world, output, &coded));
    EXPECT_OK(sb_model_visit_owned(coded, set_first, (void *)&cases[i].set));
    const sb_status status = export(coded, output, folder, cases[i].dtype, 1 << 30, true, &stats);
    EXPECT(status == (cases[i].said ? SB_ERR_NUMERIC : SB_OK));
    EXPECT(!cases[i].said || strstr(sb_message(), cases[i].said));
    sb_model_free(&coded);
  }
  golden_close(&source);
  scratch_end();
  all_ranks_passed();
}

/* An indexed model's rows and columns go back to their places: the folder has what the passes of
 * the coded model compute with. */
static void indexed(void **state) {
  (void)state;
  scratch_begin();
  const char *output = scratch_path("output"), *folder = scratch_path("folder");
  golden source;
  sb_orders orders = {0};
  sb_arch arch = {0};
  sb_config config;
  sb_output_stats written;
  sb_hf_folder_stats stats;
  sb_model *coded = NULL;
  char path[1024];
  snprintf(path, sizeof path, "%s/tests/golden/mha-untied", SB_SOURCE_DIR);
  EXPECT_OK(sb_config_read(path, &config));
  EXPECT_OK(sb_arch_create(&config, &arch));
  EXPECT_OK(random_indexed(&arch, 16, 32, 5, &orders));
  golden_open(&source, &(golden_setup){.name = "mha-untied", .orders = &orders, GOLDEN_DEFAULTS});
  golden_mixed_bits(source.model, 1, 8, 5);
  golden_write(&source, output, &written);
  EXPECT_OK(sb_output_load(&world, output, &coded));
  EXPECT_OK(export(coded, output, folder, SB_F32, 1 << 30, false, &stats));
  golden exported = {.model = source.model};
  snprintf(exported.folder, sizeof exported.folder, "%s", folder);
  sb_device_layer *layer = NULL;
  const void *image = NULL;
  EXPECT_OK(sb_device_layer_create(coded, source.backend, false, &layer));
  for (size_t l = 0; l < coded->config.layers; l++) {
    EXPECT_OK(sb_store_acquire(coded->store, coded->layer_first + l, &image));
    EXPECT_OK(sb_device_layer_load(layer, NULL, l, image));
    for (size_t which = 0; which < sb_arch_matrices(&coded->arch, l); which++) {
      const sb_matrix *matrix = sb_model_matrix(coded, l, which);
      float *got = dense_weights(&exported, matrix);
      EXPECT(memcmp(got, sb_device_layer_weights(layer)->products[which].dense_dev,
                    matrix->tiling.rows * matrix->tiling.cols * sizeof *got) == 0);
      free(got);
    }
    EXPECT_OK(sb_store_release(coded->store, coded->layer_first + l));
  }
  sb_device_layer_free(&layer);
  sb_model_free(&coded);
  golden_close(&source);
  sb_orders_free(&orders);
  sb_arch_free(&arch);
  scratch_end();
  all_ranks_passed();
}

/* A source model is written as the store has it. */
static void source_model(void **state) {
  (void)state;
  scratch_begin();
  const char *folder = scratch_path("folder");
  golden source;
  sb_hf_folder_stats stats;
  golden_open(&source, &(golden_setup){.name = "gqa-tied", GOLDEN_DEFAULTS});
  sb_destination out = {0};
  EXPECT_OK(sb_destination_begin(&world, folder, false, source.folder, &out));
  EXPECT_OK(sb_export_source(source.model, &out, 1 << 30, SB_NO_TICKER, &stats));
  sb_destination_end(&out);
  golden exported = {.model = source.model};
  snprintf(exported.folder, sizeof exported.folder, "%s", folder);
  for (size_t t = 0; t < source.model->arch.count; t++) {
    const sb_model_tensor *tensor = &source.model->arch.tensors[t];
    float *want = dense_named(&source, tensor->name), *got = dense_named(&exported, tensor->name);
    EXPECT(memcmp(got, want, tensor->rows * tensor->cols * sizeof *got) == 0);
    free(want);
    free(got);
  }
  golden_close(&source);
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(dequantized), cmocka_unit_test(beyond_the_range), cmocka_unit_test(indexed),
    cmocka_unit_test(source_model)};
RANKS_MAIN(tests)
