/* The tiny models of tests/golden (made by tools/make_golden.py with Hugging Face transformers),
 * opened on all ranks of the test's world. */
#ifndef SB_TESTS_SUPPORT_GOLDEN_H
#define SB_TESTS_SUPPORT_GOLDEN_H

#include "folders/hf_load.h"
#include "folders/output_load.h"
#include "tests/support/ranks.h"

#include <jansson.h>

#include "io/file.h"
#include "folders/output_write.h"
#include "pass/pass.h"
#include "pass/sequences.h"
#include "quant/encode.h"

static const char *const golden_names[] = {
#include "tests/golden/names.inc"
};
enum { GOLDENS = sizeof golden_names / sizeof *golden_names };

typedef struct golden {
  char folder[1024];
  sb_backend *backend;
  sb_model *model;
  sb_sequences sequences;
  sb_pass *pass;
} golden;

typedef struct golden_setup {
  const char *name;        /* or the path of a folder like those */
  const char *output;      /* an output folder made from it, to be loaded in its place; or NULL */
  const sb_orders *orders; /* of rows and columns; or NULL */
  const sb_world *world;   /* NULL: of all ranks */
  size_t sequences;        /* of the two; 0 is both */
  bool gradients;
  bool all_gradients;  /* of norms, embedding and head too */
  bool norm_gradients; /* of norms too */
  bool divergence;
  bool keep_packed; /* of an output */
  uint64_t tables;  /* seed of widths 2 .. 8 for embedding and head, odd ones also of importance; 0:
                       as they are */
  int threads;
  sb_compute compute;
  sb_blocking blocking;
  size_t activation_bytes;
} golden_setup;

#define GOLDEN_DEFAULTS                                                                            \
  .threads = 1, .blocking = {16, 32, SB_GRID_ASYMMETRIC}, .activation_bytes = (size_t)1 << 30

/* The backend of a golden model: the CPU's, or where a test is built again for a device, that. */
#ifdef SB_TEST_ON_CUDA
#include "kernels/cuda/cuda_device.h"
static inline sb_status golden_backend(sb_compute compute, int threads, sb_backend **out) {
  (void)threads;
  return sb_cuda_create(compute, 0, "a test", out);
}
#else
static inline sb_status golden_backend(sb_compute compute, int threads, sb_backend **out) {
  return sb_backend_cpu_create(compute, threads, out);
}
#endif

static inline void golden_path(const golden *g, const char *file, char *path) {
  snprintf(path, 2048, "%s/%s", g->folder, file);
}

/* Bit maps for tests that need some: every block a width of its own, the same on
 * any number of ranks. */
static inline void golden_mixed_bits(sb_model *m, unsigned least, unsigned most, uint64_t seed) {
  for (size_t k = 0; k < m->blocks; k++)
    m->bits[k] = (uint8_t)(least + mix(seed + k) % (most - least + 1));
}
/* The same for the tables of the vocabulary, which are coded then. */
static inline void golden_mixed_tables(sb_model *m, unsigned least, unsigned most, uint64_t seed) {
  for (size_t i = 0; i < m->table_count; i++) m->tables[i].coded = true;
  for (size_t k = m->blocks; k < m->all_blocks; k++)
    m->bits[k] = (uint8_t)(least + mix(seed + k) % (most - least + 1));
}

/* An importance of the columns of tables, by which their grids are fitted. */
static inline void golden_table_importance(sb_model *m, uint64_t seed) {
  const size_t count = m->table_count * m->config.hidden;
  EXPECT_OK(sb_alloc(&m->table_importance, count, sizeof *m->table_importance, "importance"));
  for (size_t c = 0; c < count; c++)
    m->table_importance[c] = 0.01f + (float)(mix(seed * 7 + c) % 1000);
}

static inline void golden_open(golden *g, const golden_setup *setup) {
  char path[2048];
  const sb_world *of = setup->world ? setup->world : &world;
  memset(g, 0, sizeof *g);
  if (setup->name[0] == '/')
    snprintf(g->folder, sizeof g->folder, "%s", setup->name);
  else
    snprintf(g->folder, sizeof g->folder, "%s/tests/golden/%s", SB_SOURCE_DIR, setup->name);
  golden_path(g, "tokens.bin", path);
  EXPECT_OK(golden_backend(setup->compute, setup->threads, &g->backend));
  EXPECT_OK(setup->output ? sb_output_load(of, setup->output, &g->model)
                          : sb_hf_load_ordered(of, g->folder, setup->blocking, true, setup->orders,
                                               &g->model));
  if (setup->tables) golden_mixed_tables(g->model, 2, 8, setup->tables);
  if (setup->tables % 2) golden_table_importance(g->model, setup->tables);
  EXPECT_OK(sb_sequences_read(of, path, SB_TOKENS_U16, g->model->config.vocab, 48, setup->sequences,
                              0, &g->sequences));
  const sb_pass_setup pass = {.model = g->model,
                              .backend = g->backend,
                              .tokens = g->sequences.tokens,
                              .sequences = g->sequences.count,
                              .seqlen = 48,
                              .gradients = setup->gradients,
                              .all_gradients = setup->all_gradients,
                              .norm_gradients = setup->norm_gradients,
                              .divergence = setup->divergence,
                              .keep_packed = setup->keep_packed,
                              .activation_bytes = setup->activation_bytes};
  EXPECT_OK(sb_pass_create(&pass, &g->pass));
}

static inline void golden_close(golden *g) {
  sb_pass_free(&g->pass);
  sb_sequences_free(&g->sequences);
  sb_model_free(&g->model);
  g->backend->op->destroy(g->backend);
}

/* Expected losses of the two sequences. */
static inline void golden_losses(const golden *g, double loss[2]) {
  char path[2048];
  golden_path(g, "expect.json", path);
  json_t *expected = json_load_file(path, 0, NULL);
  EXPECT(expected != NULL);
  for (size_t s = 0; s < 2; s++)
    loss[s] = json_real_value(json_array_get(json_object_get(expected, "loss"), s));
  json_decref(expected);
}

/* Writes an output folder from the source model, rounded to nearest at
 * its present bits. Collective. */
static inline void golden_write(golden *g, const char *folder, sb_output_stats *stats) {
  sb_model *coded = NULL;
  sb_destination out = {0};
  EXPECT_OK(sb_encode_nearest(g->model, &coded));
  EXPECT_OK(sb_destination_begin(g->model->world, folder, true, g->folder, &out));
  EXPECT_OK(sb_output_write(coded, &out, 3, stats));
  sb_destination_end(&out);
  sb_model_free(&coded);
}

/* Hooks that do nothing, for tests that look at matrices only. */
static inline sb_status golden_begin_layer(void *context, sb_stream stream, size_t layer,
                                           const sb_device_layer *prepared) {
  (void)context, (void)stream, (void)layer, (void)prepared;
  return SB_OK;
}
static inline sb_status golden_end_sequence(void *context, sb_stream stream, size_t layer) {
  (void)context, (void)stream, (void)layer;
  return SB_OK;
}
static inline sb_status golden_end_layer(void *context, size_t layer) {
  (void)context, (void)layer;
  return SB_OK;
}

#endif
