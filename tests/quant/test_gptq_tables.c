/* Rounding of embedding and LM head by GPTQ: the same units on any number of ranks, in one chunk or
 * several, less error than to nearest in the metric of their statistics, whatever the layers' codes
 * are; to nearest without statistics; and checkpoints that go on from every chunk and layer. */
#include <math.h>

#include "io/seal.h"
#include "kernels/blockrow.h"
#include "kernels/shared/trellis.h"
#include "model/factors.h"
#include "quant/gptq.h"
#include "quant/gptq_checkpoint.h"
#include "tests/support/dense.h"
#include "tests/support/units.h"
#include "tests/support/wide.h"

typedef struct kind {
  const char *name;
  sb_blocking blocking;
  int refine;
  bool fitted;
  int tables; /* bit i: table i is coded */
} kind;

static const kind kinds[] = {{"gqa-tied", {16, 32, SB_GRID_ASYMMETRIC}, 0, false, 1},
                             {"mha-untied", {7, 10, SB_GRID_SYMMETRIC}, 1, false, 3},
                             {"f32-single", {16, 32, SB_GRID_ASYMMETRIC}, 2, true, 1},
                             {"mha-untied", {16, 20, SB_GRID_ASYMMETRIC}, 0, true, 2},
                             {"gqa-tied", {24, 48, SB_TRELLIS_12}, 1, false, 1}};
enum { KINDS = sizeof kinds / sizeof *kinds, UNTIED = 1, TRELLIS = 4 };

static sb_gptq_options options_of(const kind *k, const sb_table_stats *stats, const char *path) {
  return (sb_gptq_options){.damping = 0.01,
                           .fitted = k->fitted,
                           .refine = k->refine,
                           .table_fitted = k->fitted,
                           .table_refine = k->refine,
                           .factor = SB_FACTOR_REPLICATED,
                           .tables = stats,
                           .checkpoint = path,
                           .input_bytes = (size_t)1 << 20};
}

/* A golden model with a mix of widths, its statistics, and what becomes of it. */
typedef struct rounding {
  golden source;
  sb_table_stats *tables;
  sb_model *coded;
  sb_gptq_stats stats;
} rounding;

static void open_source(rounding *r, const kind *k, const char *folder, const sb_world *of,
                        size_t sequences) {
  golden_setup setup = {
      .name = folder ? folder : k->name, .world = of, .sequences = sequences, GOLDEN_DEFAULTS};
  setup.blocking = k->blocking;
  memset(r, 0, sizeof *r);
  golden_open(&r->source, &setup);
  sb_model *m = r->source.model;
  EXPECT_OK(sb_table_stats_measure(m, r->source.backend, &r->source.sequences, (size_t)1 << 30,
                                   true, SB_NO_TICKER, &r->tables));
  golden_mixed_bits(m, 2, 5, 7);
  golden_mixed_tables(m, 2, 5, 9);
  for (size_t i = 0; i < m->table_count; i++)
    if (!(k->tables >> i & 1)) {
      const sb_matrix *matrix = &m->tables[i].matrix;
      m->tables[i].coded = false;
      memset(m->bits + matrix->first_block, 0,
             sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling));
    }
}
static sb_status round_it(rounding *r, const sb_gptq_options *options) {
  return sb_gptq(r->source.model, r->source.backend, &r->source.sequences, options, &r->coded,
                 &r->stats);
}
static void close_rounding(rounding *r) {
  if (r->coded) sb_model_free(&r->coded);
  sb_table_stats_free(&r->tables);
  golden_close(&r->source);
}

static void same_on_any_ranks(const kind *k, const char *folder, size_t chunks) {
  rounding mine, all;
  open_source(&mine, k, folder, NULL, 0);
  open_source(&all, k, folder, world_alone(), 0);
  const sb_gptq_options options = options_of(k, mine.tables, NULL),
                        alone = options_of(k, all.tables, NULL);
  EXPECT(sb_gptq_table_groups(mine.source.model) >= chunks);
  EXPECT_OK(round_it(&mine, &options));
  EXPECT_OK(round_it(&all, &alone));
  EXPECT(units_equal(mine.coded, all.coded));
  EXPECT(memcmp(mine.coded->bits, mine.source.model->bits, mine.coded->all_blocks) == 0);
  EXPECT(mine.stats.resumed_tables == 0 && mine.stats.table_seconds > 0);
  close_rounding(&mine);
  close_rounding(&all);
}

static void any_ranks(void **state) {
  (void)state;
  scratch_begin();
  for (int i = 0; i < KINDS; i++) same_on_any_ranks(&kinds[i], NULL, 1);
  same_on_any_ranks(&kinds[0], wide_make(kinds[0].name), 2);
  scratch_end();
  all_ranks_passed();
}

/* ---- progress ---- */

/* The last share that was told. */
typedef struct told {
  double last;
  size_t times;
} told;

static void listen(void *context, double done) {
  told *t = context;
  EXPECT(done >= t->last && done <= 1);
  t->last = done;
  t->times++;
}

static void progress_grows(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    rounding r;
    told t = {0};
    open_source(&r, &kinds[i], NULL, NULL, 0);
    sb_gptq_options options = options_of(&kinds[i], r.tables, NULL);
    options.ticker = (sb_ticker){listen, &t};
    EXPECT_OK(round_it(&r, &options));
    EXPECT(fabs(t.last - 1) < 1e-12);
    EXPECT(t.times == sb_gptq_table_groups(r.coded) + r.coded->config.layers);
    close_rounding(&r);
  }
  all_ranks_passed();
}

/* ---- the metric ---- */

/* The values of a coded table, [vocab, hidden]; in a world of this rank alone. The caller frees it.
 */
static float *decoded(sb_model *m, const sb_table *table) {
  const sb_tiling *tiling = &table->matrix.tiling;
  float *out = calloc(tiling->rows * tiling->cols, sizeof *out);
  for (size_t g = table->group; g < table->group + table->count; g++) {
    const sb_place *place = &m->places[m->group_place[g]];
    for (size_t u = 0; u < place->units; u++) {
      const size_t row = sb_place_block_row(m, place, u), first = row * tiling->block_rows;
      sb_blockrow_decode(out + first * tiling->cols, SB_F32,
                         sb_store_unit(m->store, g, place->first_unit + u), tiling, row, 0,
                         sb_tiling_block_cols(tiling), sb_model_code_kind(m, &table->matrix), NULL);
    }
  }
  return out;
}

/* tr((q - w) H (q - w)'). */
static double error_of(const float *q, const float *w, const sb_tiling *tiling, const double *h) {
  const size_t n = tiling->cols;
  double sum = 0;
  for (size_t r = 0; r < tiling->rows; r++, q += n, w += n)
    for (size_t i = 0; i < n; i++) {
      double at = 0;
      for (size_t j = 0; j < n; j++) at += h[i * n + j] * ((double)q[j] - (double)w[j]);
      sum += at * ((double)q[i] - (double)w[i]);
    }
  return sum;
}

/* The error of a table in its own metric; with kind k, but for what the arguments say. */
static double error_with(const kind *k, size_t table, bool by_moments, int refine,
                         sb_factor_mode mode) {
  rounding r;
  open_source(&r, k, NULL, world_alone(), 0);
  sb_gptq_options options = options_of(k, by_moments ? r.tables : NULL, NULL);
  options.table_refine = refine;
  options.factor = mode;
  const size_t n = r.source.model->config.hidden;
  double *h = malloc(n * n * sizeof *h);
  sb_table_stats_moments(r.tables, &r.source.model->tables[table], h);
  EXPECT_OK(round_it(&r, &options));
  const sb_table *t = &r.coded->tables[table];
  float *q = decoded(r.coded, t), *w = dense_weights(&r.source, &t->matrix);
  const double error = error_of(q, w, &t->matrix.tiling, h);
  free(q);
  free(w);
  free(h);
  close_rounding(&r);
  return error;
}

/* Refining never makes it worse. Distributed factors differ in their last bit, so some codes do. */
static void less_error_than_to_nearest(void **state) {
  (void)state;
  for (int i = 0; i < KINDS; i++)
    for (size_t t = 0; t < 2; t++) {
      if (!(kinds[i].tables >> t & 1)) continue;
      const double nearest = error_with(&kinds[i], t, false, 0, SB_FACTOR_REPLICATED),
                   plain = error_with(&kinds[i], t, true, 0, SB_FACTOR_REPLICATED),
                   refined = error_with(&kinds[i], t, true, 2, SB_FACTOR_REPLICATED),
                   spread = error_with(&kinds[i], t, true, 0, SB_FACTOR_DISTRIBUTED);
      print_message("%s, table %zu: to nearest %g, GPTQ %g, refined %g, distributed %g\n",
                    kinds[i].name, t, nearest, plain, refined, spread);
      EXPECT(plain > 0 && plain < 0.9 * nearest);
      EXPECT(refined > 0 && refined < plain);
      EXPECT(fabs(spread - plain) < 0.01 * plain);
    }
  all_ranks_passed();
}

/* ---- without statistics ---- */

static bool is_table_of_codes(const sb_model *m, size_t group) {
  const sb_place *place = &m->places[m->group_place[group]];
  const sb_matrix *matrix = sb_model_place_matrix(m, place);
  return matrix && sb_matrix_is_table(m, matrix);
}

static void to_nearest_without(void **state) {
  (void)state;
  for (int i = 0; i < KINDS; i++) {
    rounding r;
    sb_model *nearest = NULL;
    size_t groups = 0;
    open_source(&r, &kinds[i], NULL, NULL, 0);
    golden_table_importance(r.source.model, 3);
    if (sb_is_trellis(kinds[i].blocking.code_kind)) EXPECT_OK(sb_factors_choose(r.source.model));
    const sb_gptq_options options = options_of(&kinds[i], NULL, NULL);
    EXPECT_OK(round_it(&r, &options));
    EXPECT_OK(sb_encode_nearest(r.source.model, &nearest));
    for (size_t g = 0; g < nearest->groups; g++) {
      size_t first, end;
      sb_store_owned(nearest->store, g, world.rank, &first, &end);
      if (g >= nearest->layer_first && g < nearest->layer_first + nearest->config.layers) continue;
      groups += is_table_of_codes(nearest, g);
      for (size_t u = first; u < end; u++)
        EXPECT(memcmp(sb_store_unit(nearest->store, g, u), sb_store_unit(r.coded->store, g, u),
                      sb_store_offset(nearest->store, g, u + 1) -
                          sb_store_offset(nearest->store, g, u)) == 0);
    }
    EXPECT(groups > 0);
    sb_model_free(&nearest);
    close_rounding(&r);
  }
  all_ranks_passed();
}

/* ---- checkpoints ---- */

/* Sets "groups" of the checkpoint. Collective. */
static void say_groups(const char *path, size_t groups) {
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  if (world.rank == 0) {
    json_t *root = json_load_file(path, 0, NULL);
    EXPECT(json_is_integer(json_object_get(root, "groups")));
    json_object_set_new(root, "groups", json_integer((json_int_t)groups));
    EXPECT_OK(sb_sealed_write(path, root));
    json_decref(root);
  }
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
}

/* The checkpoint of a run that was cut off after group k is that of a whole run with "groups" set
 * to k. */
static void goes_on(const kind *k, const char *folder, const char *path) {
  rounding made, rest;
  open_source(&made, k, folder, NULL, 0);
  const sb_gptq_options saved = options_of(k, made.tables, path);
  EXPECT_OK(round_it(&made, &saved));
  const size_t tables = sb_gptq_table_groups(made.coded), all = tables + made.coded->config.layers;
  for (size_t done = 0; done <= all; done++) {
    say_groups(path, done);
    open_source(&rest, k, folder, NULL, 0);
    const sb_gptq_options options = options_of(k, rest.tables, path);
    EXPECT_OK(round_it(&rest, &options));
    EXPECT(rest.stats.resumed_tables == (done < tables ? done : tables));
    EXPECT(rest.stats.resumed == (done < tables ? 0 : done - tables));
    EXPECT(units_equal(rest.coded, made.coded));
    close_rounding(&rest);
  }
  close_rounding(&made);
}

static void cut_off_runs_go_on(void **state) {
  (void)state;
  scratch_begin();
  goes_on(&kinds[UNTIED], NULL, scratch_path("untied"));
  goes_on(&kinds[TRELLIS], NULL, scratch_path("trellis"));
  goes_on(&kinds[0], wide_make(kinds[0].name), scratch_path("wide"));
  scratch_end();
  all_ranks_passed();
}

/* Moments of other tokens, and none. */
static void other_statistics_are_refused(void **state) {
  (void)state;
  scratch_begin();
  rounding made, other;
  const char *path = scratch_path("state");
  open_source(&made, &kinds[0], NULL, NULL, 0);
  open_source(&other, &kinds[0], NULL, NULL, 1);
  const sb_gptq_options saved = options_of(&kinds[0], made.tables, path);
  EXPECT_OK(round_it(&made, &saved));
  sb_model_free(&made.coded);
  for (int i = 0; i < 2; i++) {
    const sb_gptq_options options = options_of(&kinds[0], i ? other.tables : NULL, path);
    EXPECT(round_it(&made, &options) == SB_ERR_FORMAT && made.coded == NULL);
    EXPECT(strstr(sb_message(), "another measurement of embedding and head") != NULL);
  }
  close_rounding(&made);
  close_rounding(&other);
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(any_ranks),
                                          cmocka_unit_test(progress_grows),
                                          cmocka_unit_test(less_error_than_to_nearest),
                                          cmocka_unit_test(to_nearest_without),
                                          cmocka_unit_test(cut_off_runs_go_on),
                                          cmocka_unit_test(other_statistics_are_refused)};
RANKS_MAIN(tests)
