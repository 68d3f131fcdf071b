#include "quant/gptq_tables.h"

#include <xxhash.h>

#include "base/memory.h"
#include "base/trace.h"
#include "pass/group_walk.h"
#include "quant/encode.h"
#include "quant/gptq_input.h"
#include "quant/round_stack.h"

typedef struct work {
  sb_gptq_tables *t;
  sb_moments *moments; /* NULL: to nearest */
  sb_gptq_input rounding;
  size_t chunks, rounded; /* to round, and those that are */
} work;

/* [hidden, hidden] moments of a table; the caller frees them. */
static sb_status moments_of(const sb_model *m, const sb_table_stats *stats, const sb_table *table,
                            double **out) {
  const size_t n = m->config.hidden;
  SB_TRY(sb_alloc_raw(out, n * n, sizeof **out, "second moments of a table"));
  sb_table_stats_moments(stats, table, *out);
  return SB_OK;
}

sb_status sb_gptq_tables_key(const sb_gptq_tables *t, sb_key *key) {
  static const char meaning[] = "measurement of embedding and head (--calib, --seqs)";
  const sb_model *source = t->source;
  const size_t n = source->config.hidden;
  uint64_t hash = 0;
  sb_status status = SB_OK;
  for (size_t i = 0; i < source->table_count && t->stats && status == SB_OK; i++) {
    double *h = NULL;
    if (!source->tables[i].coded) continue;
    status = moments_of(source, t->stats, &source->tables[i], &h);
    if (status == SB_OK) hash = XXH64(h, n * n * sizeof *h, hash);
    sb_free(&h);
  }
  if (sb_gptq_table_groups(source) > 0)
    sb_key_add(key, "table_rounding", "rounding of embedding and head (--grid, --refine)",
               "%s grids, %d passes", t->fitted ? "fitted" : "plain", t->refine);
  if (hash != 0)
    sb_key_add_hash(key, "tables", meaning, hash);
  else
    sb_key_add(key, "tables", meaning, SB_KEY_NONE);
  return sb_world_agree(source->world, status);
}

/* A rank has whole block rows of a chunk. */
static size_t stack_bytes(const sb_sizes *z, size_t chunk, bool refined) {
  const size_t count = sb_div_up(sb_div_up(chunk, z->blocking.rows), z->ranks);
  const sb_round_setup setup = {.rows = sb_min_size(count * z->blocking.rows, chunk),
                                .count = count,
                                .cols = z->arch->config.hidden,
                                .block_cols = z->blocking.cols,
                                .code_kind = SB_GRID_ASYMMETRIC,
                                .refine = refined};
  return sb_round_stack_bytes(&setup) + count * sizeof(sb_encode_row);
}

size_t sb_gptq_tables_bytes(const sb_sizes *z, sb_backend *types, size_t chunk,
                            sb_factor_mode factor, bool refined, int threads) {
  const size_t h = z->arch->config.hidden;
  const sb_moments_setup moments = {.width = h, .backend = types, .keep = refined, .mode = factor};
  const size_t given = h * h * sizeof(double),
               factors = sb_moments_factor_bytes(&moments, z, threads),
               rows = stack_bytes(z, chunk, refined);
  return sb_moments_bytes(&moments, z) + sb_max_size(given, sb_max_size(factors, rows));
}

/* Collective. */
static sb_status factorise(work *w, const sb_table *table) {
  const sb_model *m = w->t->source;
  double *h = NULL;
  SB_AGREE(m->world, moments_of(m, w->t->stats, table, &h));
  const sb_status status =
      sb_moments_give(w->moments, NULL, h, m->arch.tensors[table->matrix.tensor].name);
  sb_free(&h);
  return status == SB_OK ? sb_moments_factorise(w->moments, NULL, &w->t->repair) : status;
}

/* Collective. */
static sb_status round_chunk(work *w, size_t group, const void *image) {
  sb_gptq_tables *t = w->t;
  SB_SPAN(SB_TRACE_PHASE, "round chunk of a table", group);
  if (w->moments)
    SB_TRY(sb_gptq_input_round(&w->rounding, group, image, 0));
  else
    SB_AGREE(t->source->world, sb_encode_nearest_group(t->source, t->coded, group, image));
  return t->checkpoint ? sb_gptq_checkpoint_add(t->checkpoint, group) : SB_OK;
}

/* All chunks but the first `done`. Collective. */
static sb_status round_table(work *w, const sb_table *table, size_t done) {
  if (done == table->count) return SB_OK;
  if (w->moments) SB_TRY(factorise(w, table));
  sb_group_walk walk =
      sb_group_walk_begin(w->t->source->store, table->group + done, table->count - done, false);
  while (sb_group_walk_more(&walk)) {
    size_t group;
    const void *image;
    SB_TRY(sb_group_walk_enter(&walk, &group, &image));
    SB_TRY(round_chunk(w, group, image));
    SB_TRY(sb_group_walk_leave(&walk));
    sb_tick(w->t->ticker, (double)++w->rounded / (double)w->chunks);
  }
  return SB_OK;
}

/* Collective. */
static sb_status prepare(work *w) {
  const sb_gptq_tables *t = w->t;
  const sb_moments_setup setup = {.model = t->source,
                                  .width = t->source->config.hidden,
                                  .backend = t->backend,
                                  .damping = t->damping,
                                  .keep = t->refine > 0,
                                  .mode = t->factor};
  if (!t->stats) return SB_OK;
  SB_TRY(sb_moments_create(&setup, &w->moments));
  w->rounding = (sb_gptq_input){.source = t->source,
                                .coded = t->coded,
                                .backend = t->backend,
                                .moments = w->moments,
                                .fitted = t->fitted,
                                .refine = t->refine};
  return SB_OK;
}

sb_status sb_gptq_tables_round(sb_gptq_tables *t) {
  const sb_model *m = t->source;
  size_t done = t->done;
  work w = {.t = t, .chunks = sb_gptq_table_groups(m) - done};
  if (w.chunks == 0) return SB_OK;
  sb_status status = prepare(&w);
  for (size_t i = 0; i < m->table_count && status == SB_OK; i++) {
    const sb_table *table = &m->tables[i];
    if (!table->coded) continue;
    status = round_table(&w, table, sb_min_size(done, table->count));
    done -= sb_min_size(done, table->count);
  }
  sb_moments_free(&w.moments);
  return status;
}
