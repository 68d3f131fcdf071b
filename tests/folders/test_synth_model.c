/* A synthetic model as a folder and in memory: the same weights, in every type, and fewer layers
 * are the first ones. */
#include "folders/hf_load.h"
#include "folders/synth.h"

#include "io/atomic.h"
#include "tests/support/shared_scratch.h"

static const char config_text[] = "{\"architectures\": [\"LlamaForCausalLM\"], \"vocab_size\": 90, "
                                  "\"hidden_size\": 40, \"intermediate_size\": 56, "
                                  "\"num_hidden_layers\": 3, \"num_attention_heads\": 4, "
                                  "\"num_key_value_heads\": 2, \"tie_word_embeddings\": false}";

static void write_config(void) {
  if (world.rank == 0)
    EXPECT_OK(sb_file_write_atomic(scratch_path("config.json"), config_text, strlen(config_text)));
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
}

typedef struct comparison {
  sb_model *other;
  size_t units, different;
} comparison;

/* Places and units are the same in both, as far as there are layers in both. */
static sb_status compare(void *context, sb_model *m, const sb_place *place, size_t unit,
                         void *data) {
  comparison *c = context;
  size_t first, rows;
  const void *other = sb_store_unit(c->other->store, place->group, place->first_unit + unit);
  sb_place_rows(m, place, unit, &first, &rows);
  c->units++;
  c->different += !other || memcmp(other, data, rows * sb_model_row_bytes(m, place->tensor)) != 0;
  return SB_OK;
}

static void folder_and_memory(void **state) {
  (void)state;
  const sb_blocking blocking = {16, 16, SB_GRID_ASYMMETRIC};
  const sb_dtype types[] = {SB_F32, SB_F16, SB_BF16};
  scratch_begin();
  write_config();
  for (size_t i = 0; i < 3; i++)
    for (size_t layers = 0; layers < 3; layers += 2) {
      sb_destination out = {0};
      const char *model = scratch_path("model");
      const sb_synth_setup setup = {.config = scratch_path("config.json"),
                                    .out = &out,
                                    .layers = layers,
                                    .dtype = types[i],
                                    .seed = 11,
                                    .file_bytes = 20000};
      sb_model *folder = NULL, *memory = NULL;
      sb_hf_folder_stats stats;
      uint64_t parameters = 0;
      EXPECT_OK(sb_destination_begin(&world, model, true, NULL, &out));
      EXPECT_OK(sb_synth_make(&world, &setup, &stats, &parameters));
      sb_destination_end(&out);
      EXPECT_OK(sb_hf_load(&world, model, blocking, true, &folder));
      if (!folder) break;
      EXPECT(folder->config.layers == (layers ? layers : 3) && folder->config.dtype == types[i]);
      EXPECT(parameters == folder->arch.parameters && stats.files > 1);
      EXPECT(stats.bytes == parameters * sb_dtype_size(types[i]));
      EXPECT_OK(sb_synth_load(&world, &folder->config, types[i], 11, blocking, &memory));
      if (!memory) break;
      comparison c = {.other = memory};
      EXPECT_OK(sb_model_visit_owned(folder, compare, &c));
      EXPECT(c.units > 0 && c.different == 0);
      sb_model_free(&memory);
      sb_model_free(&folder);
    }
  scratch_end();
  all_ranks_passed();
}

static void too_many_layers(void **state) {
  (void)state;
  sb_hf_folder_stats stats;
  uint64_t parameters;
  scratch_begin();
  write_config();
  sb_destination out = {0};
  const char *model = scratch_path("model");
  const sb_synth_setup setup = {.config = scratch_path("config.json"),
                                .out = &out,
                                .layers = 4,
                                .dtype = SB_BF16,
                                .file_bytes = 1 << 20};
  EXPECT_OK(sb_destination_begin(&world, model, false, NULL, &out));
  EXPECT(sb_synth_make(&world, &setup, &stats, &parameters) == SB_ERR_RANGE);
  sb_destination_end(&out);
  EXPECT(access(model, F_OK) != 0);
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(folder_and_memory),
                                          cmocka_unit_test(too_many_layers)};
RANKS_MAIN(tests)
