/* Output folders written by all ranks and by one, loaded by all and by one: the weights are those
 * of plain rounding to nearest with the allocation's bits, and the loss is the one that the model
 * had before it was written. */
#include "folders/output_load.h"
#include "folders/output_sizes.h"
#include "io/shardset.h"
#include "kernels/blockrow.h"
#include "model/effective_bits.h"
#include "kernels/shared/trellis.h"
#include "tests/support/dense.h"

#include <math.h>

#include "tests/support/shared_scratch.h"

/* Every matrix that a pass prepares, against plain rounding of the source at `bits`. */
typedef struct weights_check {
  const golden *source; /* with the bits that were written */
  sb_model *loaded;
  size_t seen;
} weights_check;

/* w at the source's bits. Trellis codes are held against the operation, whose bytes and values
 * tests/kernels/test_op_trellis.c reads by hand. */
static float *rounded(const golden *source, const sb_matrix *matrix, const float *w) {
  const sb_model *m = source->model;
  sb_backend *b = source->backend;
  if (!sb_is_trellis(m->blocking.code_kind)) return dense_rounded(w, m, matrix, 0);
  float *out = calloc(matrix->tiling.rows * matrix->tiling.cols, sizeof *out);
  EXPECT_OK(b->op->trellis_quantize(b, NULL, out, SB_F32,
                                    &(sb_block_weights){.w = w,
                                                        .dtype = SB_F32,
                                                        .tiling = &matrix->tiling,
                                                        .bits = m->bits + matrix->first_block,
                                                        .code_kind = m->blocking.code_kind},
                                    sb_model_row_key(m, matrix), sb_model_col_factors(m, matrix)));
  return out;
}

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  weights_check *c = context;
  (void)stream;
  for (size_t which = 0; which < sb_arch_matrices(&c->loaded->arch, layer); which++) {
    const sb_matrix *matrix = sb_model_matrix(c->loaded, layer, which);
    float *w = dense_weights(c->source, matrix), *expected = rounded(c->source, matrix, w);
    const float *got = sb_device_layer_weights(prepared)->products[which].dense_dev;
    size_t different = 0;
    for (size_t i = 0; i < matrix->tiling.rows * matrix->tiling.cols; i++)
      different += got[i] != expected[i];
    EXPECT(different == 0);
    EXPECT(sb_device_layer_source(prepared, which) == NULL);
    c->seen++;
    free(w);
    free(expected);
  }
  return SB_OK;
}

static sb_status no_matrix(void *context, sb_stream stream, size_t layer, size_t which,
                           const float *g) {
  (void)context, (void)stream, (void)layer, (void)which, (void)g;
  return SB_OK;
}

/* What a folder must say of itself. */
static void check_stats(const golden *g, const sb_output_stats *s) {
  uint64_t code_bits = 0, weights = 0;
  const sb_model *m = g->model;
  sb_output_stats figures;
  for (size_t i = 0; i < m->arch.matrix_count; i++) {
    const sb_matrix *matrix = &m->matrices[i];
    for (size_t r = 0; r < matrix->tiling.rows; r++)
      for (size_t c = 0; c < matrix->tiling.cols; c++) {
        const size_t block =
            r / m->blocking.rows * sb_tiling_block_cols(&matrix->tiling) + c / m->blocking.cols;
        code_bits += m->bits[matrix->first_block + block];
        weights++;
      }
  }
  sb_output_figures(m, &figures);
  EXPECT(s->code_bits == code_bits && s->quantized_weights == weights);
  EXPECT(figures.code_bits == code_bits && figures.quantized_bits == s->quantized_bits);
  EXPECT(fabs(s->effective_bits * (double)weights - (double)s->quantized_bits) < 1e-3);
  if (!sb_is_trellis(m->blocking.code_kind)) /* a scale a row of a block, at least */
    EXPECT(s->quantized_bits > code_bits + 16 * weights / m->blocking.cols);
  EXPECT(s->stored_bytes > 0 && s->frames > 0 && s->content_hash != 0);
}

static void check_loaded(const golden *source, const golden_setup *setup,
                         const sb_output_stats *written, double loss) {
  golden g;
  double got = NAN;
  sb_output_stats verified = {0};
  golden_open(&g, setup);
  EXPECT(g.model->coding == SB_CODING_CODES && g.model->blocks == source->model->blocks);
  EXPECT(memcmp(g.model->bits, source->model->bits, g.model->blocks) == 0);
  weights_check c = {source, g.model, 0};
  const sb_pass_hooks hooks = {.context = &c,
                               .begin_layer = begin_layer,
                               .matrix = no_matrix,
                               .end_sequence = golden_end_sequence,
                               .end_layer = golden_end_layer};
  EXPECT_OK(sb_pass_gradients(g.pass, &hooks, &got));
  EXPECT(c.seen == g.model->arch.matrix_count);
  EXPECT(got == loss);
  EXPECT_OK(sb_output_verify(g.model->world, setup->output, SB_NO_TICKER, &verified));
  EXPECT(verified.content_hash == written->content_hash && verified.frames == written->frames);
  EXPECT(verified.stored_bytes == written->stored_bytes);
  golden_close(&g);
}

/* Bits of the file as counted in advance, where all widths are equal. */
static void uniform_figures(const golden *g) {
  const sb_model *m = g->model;
  uint8_t *kept = malloc(m->blocks);
  sb_output_stats figures;
  memcpy(kept, m->bits, m->blocks);
  for (unsigned bits = 1; bits <= 8; bits++) {
    memset(m->bits, (int)bits, m->blocks);
    sb_output_figures(m, &figures);
    EXPECT(fabs(figures.effective_bits - sb_model_uniform_bits(m, bits)) < 1e-12);
  }
  memcpy(m->bits, kept, m->blocks);
  free(kept);
}

static void round_trip(const char *name, sb_blocking blocking, uint64_t seed) {
  golden all, one;
  sb_output_stats by_all, by_one = {0};
  double loss = NAN;
  const char *folder_all = scratch_path("all"), *folder_one = scratch_path("one");
  golden_setup setup = {.name = name, GOLDEN_DEFAULTS};
  setup.blocking = blocking;
  golden_open(&all, &setup);
  golden_mixed_bits(all.model, 1, 8, seed);
  EXPECT_OK(sb_pass_loss(all.pass, &loss));
  golden_write(&all, folder_all, &by_all);
  check_stats(&all, &by_all);
  uniform_figures(&all);

  setup.world = world_alone();
  if (world.rank == 0) {
    golden_open(&one, &setup);
    golden_mixed_bits(one.model, 1, 8, seed);
    golden_write(&one, folder_one, &by_one);
    EXPECT(by_one.content_hash == by_all.content_hash && by_one.frames == by_all.frames);
    EXPECT(by_one.quantized_bits == by_all.quantized_bits);
    golden_close(&one);
  }
  EXPECT(MPI_Bcast(&by_one, (int)sizeof by_one, MPI_BYTE, 0, world.comm) == MPI_SUCCESS);

  setup.gradients = true;
  setup.output = folder_all;
  check_loaded(&all, &setup, &by_all, loss); /* from all, by each alone */
  setup.output = folder_one;
  check_loaded(&all, &setup, &by_one, loss);
  setup.world = NULL;
  check_loaded(&all, &setup, &by_one, loss); /* from one, by all together */
  setup.output = folder_all;
  check_loaded(&all, &setup, &by_all, loss);
  golden_close(&all);
}

static void round_trips(void **state) {
  (void)state;
  scratch_begin();
  round_trip(golden_names[0], (sb_blocking){64, 36, SB_TRELLIS_12}, 200);
  for (size_t i = 0; i < GOLDENS; i++) {
    round_trip(golden_names[i],
               (sb_blocking){16, 32, i % 2 ? SB_GRID_ASYMMETRIC : SB_GRID_ASYMMETRIC_6BIT}, i);
    round_trip(golden_names[i],
               (sb_blocking){7, 10, i % 2 ? SB_GRID_SIGNED_BF16 : SB_GRID_SYMMETRIC}, i + 100);
  }
  scratch_end();
  all_ranks_passed();
}

/* ---- coded tables of the vocabulary ---- */

/* A table's block rows that this rank loaded, against plain rounding of the source. */
typedef struct tables_check {
  const golden *source; /* with the bits that were written */
  float *expected[SB_TABLES];
  size_t seen;
} tables_check;

static sb_status look_at_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                              void *data) {
  tables_check *c = context;
  const sb_table *table = sb_model_table(m, place->tensor);
  if (!table) return SB_OK;
  const sb_tiling *tiling = &table->matrix.tiling;
  size_t first, rows;
  sb_place_rows(m, place, unit, &first, &rows);
  float *got = calloc(rows * tiling->cols, sizeof *got);
  sb_blockrow_decode(got, SB_F32, data, tiling, first / m->blocking.rows, 0,
                     sb_tiling_block_cols(tiling), sb_model_code_kind(m, &table->matrix), NULL);
  EXPECT(memcmp(got, c->expected[table - m->tables] + first * tiling->cols,
                rows * tiling->cols * sizeof *got) == 0);
  free(got);
  c->seen += rows;
  return SB_OK;
}

static void check_tables(const golden *source, const char *folder, const sb_world *of,
                         const sb_output_stats *written) {
  tables_check c = {.source = source};
  sb_model *loaded = NULL;
  sb_output_stats verified = {0};
  const sb_model *m = source->model;
  uint64_t rows = 0, seen;
  EXPECT_OK(sb_output_load(of, folder, &loaded));
  EXPECT(loaded->all_blocks == m->all_blocks);
  EXPECT(memcmp(loaded->bits, m->bits, m->all_blocks) == 0);
  for (size_t i = 0; i < m->table_count; i++) {
    float *w = dense_weights(source, &m->tables[i].matrix);
    EXPECT(loaded->tables[i].coded);
    c.expected[i] = dense_rounded(w, m, &m->tables[i].matrix, 0);
    rows += m->tables[i].matrix.tiling.rows;
    free(w);
  }
  EXPECT_OK(sb_model_visit_owned(loaded, look_at_unit, &c));
  seen = c.seen;
  EXPECT(MPI_Allreduce(MPI_IN_PLACE, &seen, 1, MPI_UINT64_T, MPI_SUM, of->comm) == MPI_SUCCESS);
  EXPECT(seen == rows);
  EXPECT_OK(sb_output_verify(of, folder, SB_NO_TICKER, &verified));
  EXPECT(verified.content_hash == written->content_hash);
  for (size_t i = 0; i < m->table_count; i++) free(c.expected[i]);
  sb_model_free(&loaded);
}

static sb_status add_bytes(void *context, sb_model *m, const sb_place *place, size_t unit,
                           void *data) {
  const size_t at = place->first_unit + unit;
  (void)data;
  *(uint64_t *)context +=
      sb_store_offset(m->store, place->group, at + 1) - sb_store_offset(m->store, place->group, at);
  return SB_OK;
}

/* The figures of the whole file against the units of the store, which are what frames hold. */
static void check_whole(const golden *g, const sb_output_stats *s) {
  const sb_model *m = g->model;
  sb_model *coded = NULL;
  uint64_t bytes = 0, tables = 0;
  EXPECT_OK(sb_encode_nearest(g->model, &coded));
  EXPECT_OK(sb_model_visit_owned(coded, add_bytes, &bytes));
  EXPECT(MPI_Allreduce(MPI_IN_PLACE, &bytes, 1, MPI_UINT64_T, MPI_SUM, world.comm) == MPI_SUCCESS);
  EXPECT(s->bytes == bytes && s->weights == m->arch.parameters);
  EXPECT(fabs(s->file_bits * (double)s->weights - 8.0 * (double)bytes) < 1e-3);
  for (size_t i = 0; i < SB_TABLES; i++) {
    EXPECT((s->tables[i].weights > 0) == (i < m->table_count));
    tables += s->tables[i].bytes;
  }
  EXPECT(s->quantized_bits / 8 + s->other_bytes + tables == bytes);
  sb_model_free(&coded);
}

/* A folder's own sizes and widths against the model's. Local. */
static void check_measured(const golden *g, const char *folder, const sb_output_stats *s) {
  const sb_model *m = g->model;
  sb_shardset *set = NULL;
  EXPECT_OK(sb_shardset_open(folder, &set));
  sb_output_tensor *got = calloc(sb_shardset_manifest(set)->tensor_count, sizeof *got);
  EXPECT_OK(sb_output_measure(set, got));
  uint64_t bytes = 0, weights = 0;
  for (size_t t = 0; t < m->arch.count; t++) {
    const sb_model_tensor *tensor = &m->arch.tensors[t];
    const sb_table *table = sb_model_table(m, t);
    const sb_matrix *matrix = tensor->is_linear ? sb_model_matrix(m, tensor->layer, tensor->matrix)
                              : table           ? &table->matrix
                                                : NULL;
    uint64_t blocks[SB_WIDTHS] = {0};
    for (size_t k = 0, cols = matrix ? sb_tiling_block_cols(&matrix->tiling) : 0;
         matrix && k < cols * sb_tiling_block_rows(&matrix->tiling); k++)
      blocks[m->bits[matrix->first_block + k]]++;
    EXPECT(memcmp(blocks, got[t].blocks, sizeof blocks) == 0);
    EXPECT(got[t].weights == tensor->rows * tensor->cols);
    if (table) EXPECT(got[t].bytes == s->tables[table - m->tables].bytes);
    bytes += got[t].bytes;
    weights += got[t].weights;
  }
  EXPECT(bytes == s->bytes && weights == s->weights);
  free(got);
  sb_shardset_close(&set);
}

static void with_tables(const char *name, sb_blocking blocking, uint64_t seed) {
  golden all, one;
  sb_output_stats by_all, by_one = {0}, plain;
  const char *folder_all = scratch_path("all"), *folder_one = scratch_path("one");
  golden_setup setup = {.name = name, GOLDEN_DEFAULTS};
  setup.blocking = blocking;
  golden_open(&all, &setup);
  golden_mixed_bits(all.model, 1, 8, seed);
  sb_output_figures(all.model, &plain);
  golden_mixed_tables(all.model, 1, 8, seed);
  golden_write(&all, folder_all, &by_all);
  EXPECT(plain.quantized_bits == by_all.quantized_bits && plain.bytes > by_all.bytes);
  check_whole(&all, &by_all);
  check_measured(&all, folder_all, &by_all);
  setup.world = world_alone();
  if (world.rank == 0) {
    golden_open(&one, &setup);
    golden_mixed_bits(one.model, 1, 8, seed);
    golden_mixed_tables(one.model, 1, 8, seed);
    golden_write(&one, folder_one, &by_one);
    EXPECT(by_one.content_hash == by_all.content_hash && by_one.frames == by_all.frames);
    golden_close(&one);
  }
  EXPECT(MPI_Bcast(&by_one, (int)sizeof by_one, MPI_BYTE, 0, world.comm) == MPI_SUCCESS);
  check_tables(&all, folder_all, world_alone(), &by_all);
  check_tables(&all, folder_one, &world, &by_one);
  check_tables(&all, folder_all, &world, &by_all);
  golden_close(&all);
}

static void tables(void **state) {
  (void)state;
  scratch_begin();
  with_tables("gqa-tied", (sb_blocking){16, 32, SB_GRID_ASYMMETRIC}, 1);
  with_tables("gqa-tied", (sb_blocking){7, 10, SB_GRID_BY_WIDTH}, 2);
  with_tables("mha-untied", (sb_blocking){7, 10, SB_GRID_ASYMMETRIC}, 3);
  with_tables("mha-untied", (sb_blocking){64, 36, SB_TRELLIS_12}, 4);
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(round_trips), cmocka_unit_test(tables)};
RANKS_MAIN(tests)
