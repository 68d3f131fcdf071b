/* Embedding and LM head with widths: passes through source rows rounded on the fly, and through
 * codes, are those through a model whose tables really have the rounded values, in one chunk or in
 * several. */
#include "tests/support/wide.h"

#include <math.h>

#include "pass/layerwise.h"
#include "tests/support/gradient_checksums.h"

enum { SEQUENCES = 2, LAYER_SEED = 5 };

#ifdef SB_TEST_ON_CUDA                   /* the stand-in is slow */
enum { FIRST = GOLDENS - 1, SEEDS = 1 }; /* the smallest */
#else
enum { FIRST = 0, SEEDS = 2 };
#endif

/* ---- a folder whose tables have the rounded values ---- */

static void read_floats(const sb_safetensors *source, const sb_tensor_info *t, float *out,
                        size_t count, sb_backend *b) {
  void *data = malloc(t->bytes);
  EXPECT_OK(sb_safetensors_read(source, t, 0, t->bytes, data));
  EXPECT_OK(b->op->convert(b, NULL, out, SB_F32, data, t->dtype, count));
  free(data);
}

/* The whole table at once, so without chunks, on the host. Only the values are from the operation.
 */
static void round_table(const golden *g, sb_backend *b, const sb_table *table, float *values) {
  const sb_tiling *tiling = &table->matrix.tiling;
  const size_t count = tiling->rows * tiling->cols;
  const float *importance = sb_model_importance(g->model, &table->matrix);
  float *exact = malloc(count * sizeof *exact);
  uint8_t *fits = malloc(tiling->rows * sb_tiling_block_cols(tiling));
  memcpy(exact, values, count * sizeof *exact);
  const sb_block_weights w = {.w = exact,
                              .dtype = SB_F32,
                              .tiling = tiling,
                              .bits = g->model->bits + table->matrix.first_block,
                              .code_kind = g->model->blocking.code_kind};
  if (importance) EXPECT_OK(b->op->fit_blocks(b, NULL, fits, &w, importance));
  EXPECT_OK(b->op->quantize_blocks(b, NULL, values, SB_F32, &w, importance ? fits : NULL));
  EXPECT(memcmp(exact, values, count * sizeof *exact) != 0);
  free(exact);
  free(fits);
}

static const sb_table *table_of(const sb_model *m, const char *name) {
  for (size_t i = 0; i < m->table_count; i++)
    if (strcmp(m->arch.tensors[m->tables[i].matrix.tensor].name, name) == 0) return &m->tables[i];
  return NULL;
}

static void write_rounded(const golden *g, const char *to) {
  sb_safetensors *source = NULL;
  sb_safetensors_writer *writer = NULL;
  sb_backend *b = NULL;
  sb_tensor_spec specs[WIDE_TENSORS];
  EXPECT_OK(sb_backend_cpu_create(SB_COMPUTE_F32, 1, &b));
  EXPECT_OK(sb_safetensors_open(g->folder, &source));
  const size_t count = sb_safetensors_count(source);
  EXPECT(count <= WIDE_TENSORS);
  for (size_t i = 0; i < count; i++) {
    const sb_tensor_info *t = sb_safetensors_at(source, i);
    specs[i] = (sb_tensor_spec){t->name,
                                table_of(g->model, t->name) ? SB_F32 : t->dtype,
                                t->dims,
                                {t->shape[0], t->shape[1]}};
  }
  EXPECT_OK(sb_safetensors_writer_create(to, specs, count, NULL, &writer));
  for (size_t i = 0; i < count; i++) {
    const sb_tensor_info *t = sb_safetensors_at(source, i);
    const sb_table *table = table_of(g->model, t->name);
    const size_t elements = t->bytes / sb_dtype_size(t->dtype), bytes = elements * sizeof(float);
    void *data = malloc(bytes);
    if (table) {
      read_floats(source, t, data, elements, b);
      round_table(g, b, table, data);
    } else {
      EXPECT_OK(sb_safetensors_read(source, t, 0, t->bytes, data));
    }
    EXPECT_OK(sb_safetensors_writer_write(writer, i, 0, table ? bytes : t->bytes, data));
    free(data);
  }
  EXPECT_OK(sb_safetensors_writer_finish(writer));
  sb_safetensors_writer_free(&writer);
  b->op->destroy(b);
  sb_safetensors_close(&source);
}

/* Collective. */
static const char *rounded_folder(const golden *g) {
  char command[4096], path[2048];
  const char *folder = scratch_path("rounded");
  if (world.rank == 0) {
    snprintf(command, sizeof command,
             "rm -rf '%s' && mkdir '%s' && cp '%s/config.json' '%s/tokens.bin' '%s'", folder,
             folder, g->folder, g->folder, folder);
    EXPECT(system(command) == 0);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    write_rounded(g, path);
  }
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  return folder;
}

/* ---- what a pass gives ---- */

typedef struct outcome {
  double loss;
  uint64_t gradients[SEQUENCES]; /* of sequences of this rank */
} outcome;

static outcome measure(const golden *g, sb_pass *pass) {
  outcome out = {0};
  double again = NAN;
  gradient_checksums sums = {.model = g->model, .backend = g->backend, .of = out.gradients};
  EXPECT_OK(sb_pass_loss(pass, &out.loss));
  gradient_checksums_measure(&sums, pass, SEQUENCES, &again);
  EXPECT(again == out.loss);
  return out;
}

static bool equal(const outcome *a, const outcome *b) {
  return a->loss == b->loss && memcmp(a->gradients, b->gradients, sizeof a->gradients) == 0;
}

static sb_pass *pass_of(const golden *g, sb_model *model) {
  sb_pass *pass = NULL;
  EXPECT_OK(sb_pass_create(&(sb_pass_setup){.model = model,
                                            .backend = g->backend,
                                            .tokens = g->sequences.tokens,
                                            .sequences = g->sequences.count,
                                            .seqlen = g->sequences.seqlen,
                                            .gradients = true,
                                            .divergence = true,
                                            .activation_bytes = (size_t)1 << 30},
                           &pass));
  return pass;
}

/* From a model with rounded tables to one with its own: each multiplies with its own head. */
static double divergence_by_comparison(const golden *g, const char *name) {
  golden source;
  sb_comparison c = {0};
  golden_open(&source, &(golden_setup){.name = name, .world = g->model->world, GOLDEN_DEFAULTS});
  sb_pass *pass = pass_of(g, source.model); /* on the same backend */
  EXPECT_OK(sb_pass_compare(g->pass, pass, &c));
  sb_pass_free(&pass);
  golden_close(&source);
  return c.mean_kl;
}

/* ---- the input of layer 0, which says which embedding was read ---- */

typedef struct first_input {
  const golden *g;
  uint64_t sum;
} first_input;

static sb_status see_input(void *context, sb_stream stream, size_t layer, size_t input,
                           const void *x) {
  first_input *f = context;
  sb_backend *b = f->g->backend;
  const size_t count = f->g->sequences.seqlen * f->g->model->config.hidden;
  float *values = malloc(count * sizeof *values);
  if (layer == 0 && input == 0) {
    EXPECT_OK(b->op->download(b, stream, values, x, count * sizeof *values));
    EXPECT_OK(b->op->sync(b, stream));
    f->sum = checksum(f->sum, values, count);
  }
  free(values);
  return SB_OK;
}

static uint64_t input_of_pass(const golden *g, sb_pass *pass) {
  double loss;
  first_input f = {.g = g};
  EXPECT_OK(sb_pass_observe(pass, &(sb_pass_observer){&f, see_input}, &loss));
  return f.sum;
}

static sb_status see_layer_input(void *context, sb_stream stream, size_t input, const void *x) {
  return see_input(context, stream, 0, input, x);
}

static uint64_t input_of_layerwise(golden *g, sb_model *from) {
  const void *image;
  sb_layerwise *sequences = NULL;
  sb_device_layer *layer = NULL;
  first_input f = {.g = g};
  const sb_layer_hooks hooks = {.context = &f, .input = see_layer_input};
  EXPECT_OK(sb_layerwise_create(g->model, g->backend, &g->sequences, &sequences));
  EXPECT_OK(sb_device_layer_create(g->model, g->backend, false, &layer));
  EXPECT_OK(sb_layerwise_embed(sequences, from));
  EXPECT_OK(sb_store_acquire(g->model->store, g->model->layer_first, &image));
  EXPECT_OK(sb_device_layer_load(layer, sb_layerwise_stream(sequences), 0, image));
  for (size_t s = 0; s < sb_layerwise_local(sequences); s++)
    EXPECT_OK(sb_layerwise_observe(sequences, layer, s, &hooks));
  EXPECT_OK(sb_store_release(g->model->store, g->model->layer_first));
  sb_device_layer_free(&layer);
  sb_layerwise_free(&sequences);
  return f.sum;
}

/* ---- tests ---- */

/* Against the model that has the rounded values. Its tables are f32, so chunks of a wide vocabulary
 * are shorter than those of bf16: sums of soft-maxes are made in another order, and losses near 9
 * differ by a few roundings of f32. */
static void as_rounded_tables(const golden *g, const outcome *want, bool one_chunk) {
  golden plain;
  golden_open(&plain, &(golden_setup){.name = rounded_folder(g),
                                      .world = g->model->world,
                                      .gradients = true,
                                      GOLDEN_DEFAULTS});
  golden_mixed_bits(plain.model, 1, 8, LAYER_SEED);
  const outcome got = measure(&plain, plain.pass);
  EXPECT(one_chunk ? equal(&got, want) : fabs(got.loss - want->loss) < 4e-6);
  EXPECT((plain.model->head_count == 1) == one_chunk);
  golden_close(&plain);
}

/* The divergence is 0 at the source weights, else as the comparison of two models has it: its
 * soft-max statistics are f32. */
static outcome check_divergence(golden *g, const char *name) {
  uint8_t *bits = NULL;
  double zero = NAN;
  const double kl = divergence_by_comparison(g, name);
  EXPECT_OK(sb_pass_learn(g->pass));
  const outcome out = measure(g, g->pass);
  EXPECT(kl > 0.001 && fabs(out.loss - kl) < 1e-6);
  EXPECT_OK(sb_model_lift_bits(g->model, &bits));
  sb_pass_forget(g->pass);
  EXPECT_OK(sb_pass_loss(g->pass, &zero));
  EXPECT(zero == 0);
  sb_model_return_bits(g->model, &bits);
  sb_pass_forget(g->pass);
  return out;
}

static void as_codes(golden *g, const outcome *want, const outcome *divergence) {
  sb_model *codes = NULL;
  EXPECT_OK(sb_encode_nearest(g->model, &codes));
  sb_pass *pass = pass_of(g, codes);
  const outcome plain = measure(g, pass);
  EXPECT(equal(&plain, want));
  const uint64_t input = input_of_pass(g, pass);
  EXPECT(input_of_layerwise(g, codes) == input && input_of_layerwise(g, g->model) == input);
  EXPECT_OK(sb_pass_learn_from(pass, g->pass));
  const outcome slopes = measure(g, pass);
  EXPECT(equal(&slopes, divergence));
  EXPECT_OK(sb_pass_learn_from(g->pass, pass)); /* back again */
  const outcome back = measure(g, g->pass);
  EXPECT(equal(&back, divergence));
  sb_pass_free(&pass);
  sb_model_free(&codes);
}

/* Fits of grids are kept: those of other widths are found anew. */
static void at_other_widths(golden *g, uint64_t seed) {
  sb_model *codes = NULL;
  golden_mixed_tables(g->model, 3, 5, seed);
  sb_pass_forget(g->pass);
  const outcome want = measure(g, g->pass);
  EXPECT_OK(sb_encode_nearest(g->model, &codes));
  sb_pass *pass = pass_of(g, codes);
  EXPECT_OK(sb_pass_learn_from(pass, g->pass));
  const outcome got = measure(g, pass);
  EXPECT(equal(&got, &want));
  sb_pass_free(&pass);
  sb_model_free(&codes);
}

/* The loss; on one rank the whole. */
static double check(const char *name, const sb_world *of, uint64_t seed, bool one_chunk) {
  golden g;
  golden_open(&g, &(golden_setup){.name = name,
                                  .world = of,
                                  .gradients = true,
                                  .divergence = true,
                                  .tables = seed,
                                  GOLDEN_DEFAULTS});
  golden_mixed_bits(g.model, 1, 8, LAYER_SEED);
  EXPECT((g.model->head_count == 1) == one_chunk);
  const outcome out = measure(&g, g.pass);
  if (of->size == world.size) as_rounded_tables(&g, &out, one_chunk);
  const outcome divergence = check_divergence(&g, name);
  as_codes(&g, &out, &divergence);
  at_other_widths(&g, seed + 50);
  golden_close(&g);
  return out.loss;
}

static void in_one_chunk(void **state) {
  (void)state;
  scratch_begin();
  for (size_t i = FIRST; i < GOLDENS; i++)
    for (uint64_t seed = 2 * i + 3; seed < 2 * i + 3 + SEEDS; seed++) {
      const double loss = check(golden_names[i], &world, seed, true);
      if (world.size > 1) EXPECT(check(golden_names[i], world_alone(), seed, true) == loss);
    }
  scratch_end();
  all_ranks_passed();
}

#ifndef SB_TEST_ON_CUDA
static void in_several_chunks(void **state) {
  static const char *const names[] = {"mha-untied", "gqa-tied"};
  (void)state;
  scratch_begin();
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    check(wide_make(names[i]), &world, 3 + i, false);
  scratch_end();
  all_ranks_passed();
}
#endif

static const struct CMUnitTest tests[] = {
#ifndef SB_TEST_ON_CUDA
    cmocka_unit_test(in_several_chunks),
#endif
    cmocka_unit_test(in_one_chunk)};
RANKS_MAIN(tests)
