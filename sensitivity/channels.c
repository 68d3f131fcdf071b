#include "sensitivity/channels.h"

#include <string.h>

#include "base/memory.h"
#include "base/trace.h"
#include "kernels/shared/trellis.h"
#include "model/fused.h"
#include "mpi/exact.h"
#include "mpi/large.h"

const char *const sb_channel_score_names[] = {
    [SB_CHANNELS_SQUARE] = "square", [SB_CHANNELS_ABSOLUTE] = "abs", NULL};

struct sb_channels {
  sb_model *model;
  sb_backend *backend;
  bool absolute;
  size_t count, most; /* sums of the layer at hand, of any */
  size_t share;       /* the most that a rank owns of a layer */
  size_t *starts;     /* [ranks + 1] which of those of the layer at hand a rank owns */
  double *sums;       /* device, [most] of the sequence at hand */
  double *host;       /* [most] */
  sb_exact *wave;     /* [most] of the layer at hand */
  sb_exact *reduced;  /* [share] */
  sb_exact *totals;   /* [layers, share] over all waves */
  const sb_device_layer *prepared;
  const uint8_t *bits; /* [blocks] of the model, at which channels are scored */
  double seconds;
};

static size_t owned(const sb_channels *c) {
  return c->starts[c->model->world->rank + 1] - c->starts[c->model->world->rank];
}

/* Where the sums of a matrix are in those of its layer: rows, then columns. All of them for the
 * number behind the last matrix. */
static size_t sums_before(const sb_arch *arch, size_t layer, size_t matrix) {
  size_t sums = 0;
  for (size_t i = 0; i < matrix; i++) {
    const sb_model_tensor *t = sb_arch_matrix(arch, layer, i);
    sums += t->rows + t->cols;
  }
  return sums;
}

static size_t sums_of(const sb_arch *arch, size_t layer) {
  return sums_before(arch, layer, sb_arch_matrices(arch, layer));
}

static void find_starts(const sb_world *world, size_t count, size_t *starts) {
  const size_t ranks = (size_t)world->size;
  for (size_t r = 0; r <= ranks; r++) starts[r] = r * count / ranks;
}

static sb_status create(sb_channels *c) {
  const sb_backend_ops *op = c->backend->op;
  const size_t ranks = (size_t)c->model->world->size, layers = c->model->config.layers;
  for (size_t layer = 0; layer < layers; layer++)
    c->most = sb_max_size(c->most, sums_of(&c->model->arch, layer));
  c->share = sb_div_up(c->most, ranks);
  SB_TRY(sb_alloc(&c->starts, ranks + 1, sizeof *c->starts, "scores of channels"));
  SB_TRY(op->alloc(c->backend, c->most * sizeof(double), "scores of channels", (void **)&c->sums));
  SB_TRY(sb_alloc(&c->host, c->most, sizeof *c->host, "scores of channels"));
  SB_TRY(sb_alloc(&c->wave, c->most, sizeof *c->wave, "scores of channels"));
  SB_TRY(sb_alloc(&c->reduced, c->share, sizeof *c->reduced, "scores of channels"));
  return sb_alloc(&c->totals, layers * c->share, sizeof *c->totals, "scores of channels");
}

size_t sb_channels_bytes(const sb_sizes *z) {
  const size_t count = z->layer.rows + z->layer.cols, own = sb_div_up(count, z->ranks);
  return sizeof(sb_channels) + (z->ranks + 1) * sizeof(size_t) +
         count * (2 * sizeof(double) + sizeof(sb_exact)) + (z->layers + 1) * own * sizeof(sb_exact);
}

void sb_channels_free(sb_channels **channels) {
  sb_channels *c = *channels;
  if (!c) return;
  c->backend->op->free(c->backend, c->sums);
  sb_free(&c->starts);
  sb_free(&c->host);
  sb_free(&c->wave);
  sb_free(&c->reduced);
  sb_free(&c->totals);
  sb_free(channels);
}

/* ---- the gradient pass ---- */

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  sb_channels *c = context;
  (void)stream;
  c->prepared = prepared;
  c->count = sums_of(&c->model->arch, layer);
  find_starts(c->model->world, c->count, c->starts);
  memset(c->wave, 0, c->count * sizeof *c->wave);
  return SB_OK;
}

static sb_status score_matrix(void *context, sb_stream stream, size_t layer, size_t which,
                              const float *g) {
  sb_channels *c = context;
  const sb_model *m = c->model;
  const sb_matrix *matrix = sb_model_matrix(m, layer, which);
  double *rows = c->sums + sums_before(&m->arch, layer, which);
  SB_SPAN_INTO(&c->seconds, SB_TRACE_COMPUTE, "score matrix", which);
  SB_TRY(c->backend->op->channel_scores(
      c->backend, stream, rows, rows + matrix->tiling.rows, g, matrix->tiling.cols,
      &(sb_block_weights){.w = sb_device_layer_source(c->prepared, which),
                          .dtype = m->dtypes[matrix->tensor],
                          .tiling = &matrix->tiling,
                          .bits = c->bits + matrix->first_block,
                          .code_kind = sb_table_code_kind(m->blocking.code_kind)},
      sb_device_layer_fits(c->prepared, which), c->absolute));
  return SB_OK;
}

static sb_status end_sequence(void *context, sb_stream stream, size_t layer) {
  sb_channels *c = context;
  SB_SPAN_INTO(&c->seconds, SB_TRACE_COMPUTE, "add scores", layer);
  SB_TRY(c->backend->op->download(c->backend, stream, c->host, c->sums, c->count * sizeof(double)));
  SB_TRY(c->backend->op->sync(c->backend, stream));
  for (size_t i = 0; i < c->count; i++)
    if (sb_exact_add(&c->wave[i], c->host[i]) != SB_OK)
      return sb_fail(
          SB_ERR_NUMERIC,
          "layer %zu: the gradient overflows at the bits where channels are scored; reorder for a "
          "higher budget",
          layer);
  return SB_OK;
}

static sb_status end_layer(void *context, size_t layer) {
  sb_channels *c = context;
  SB_SPAN_INTO(&c->seconds, SB_TRACE_COMPUTE, "sum scores", layer);
  sb_exact *totals = c->totals + layer * c->share;
  SB_TRY(sb_exact_reduce_scatter(c->reduced, c->wave, c->starts, c->model->world->comm));
  for (size_t i = 0; i < owned(c); i++) {
    totals[i].high += c->reduced[i].high;
    totals[i].low += c->reduced[i].low;
    sb_exact_normalise(&totals[i]);
  }
  return SB_OK;
}

static sb_status score_at(sb_channels *c, sb_pass *pass, const sb_pass_hooks *hooks,
                          const uint8_t *bits, double *loss) {
  c->bits = bits;
  return sb_pass_gradients(pass, hooks, loss);
}

/* At full precision, whatever bits the model has. */
static sb_status score_source(sb_channels *c, sb_pass *pass, const sb_pass_hooks *hooks,
                              double *loss) {
  uint8_t *bits = NULL;
  SB_TRY(sb_model_lift_bits(c->model, &bits));
  sb_pass_forget(pass);
  const sb_status status = score_at(c, pass, hooks, bits, loss);
  sb_model_return_bits(c->model, &bits);
  sb_pass_forget(pass);
  return status;
}

sb_status sb_channels_measure(sb_pass *pass, sb_model *model, sb_backend *backend,
                              sb_channel_score score, double *loss, sb_channels **out) {
  sb_status status = sb_world_alloc(model->world, out, sizeof **out, "scores of channels");
  SB_TRY(status);
  sb_channels *c = *out;
  const sb_pass_hooks hooks = {.context = c,
                               .begin_layer = begin_layer,
                               .matrix = score_matrix,
                               .end_sequence = end_sequence,
                               .end_layer = end_layer};
  c->model = model;
  c->backend = backend;
  c->absolute = score == SB_CHANNELS_ABSOLUTE;
  status = sb_world_agree(model->world, create(c));
  SB_THEN(sb_is_trellis(model->blocking.code_kind) ? score_source(c, pass, &hooks, loss)
                                                   : score_at(c, pass, &hooks, model->bits, loss));
  if (status != SB_OK) sb_channels_free(out);
  return status;
}

size_t sb_channels_count(const sb_channels *c) {
  return c->most;
}

double sb_channels_seconds(const sb_channels *c) {
  return c->seconds;
}

sb_status sb_channels_layer(const sb_channels *c, size_t layer, double *out) {
  const sb_world *world = c->model->world;
  const sb_exact *totals = c->totals + layer * c->share;
  size_t *starts = NULL;
  SB_AGREE(world, sb_alloc(&starts, (size_t)world->size + 1, sizeof *starts, "scores of channels"));
  find_starts(world, sums_of(&c->model->arch, layer), starts);
  double *mine = out + starts[world->rank];
  for (size_t i = 0; i < starts[world->rank + 1] - starts[world->rank]; i++)
    mine[i] = sb_exact_value(&totals[i]);
  for (int r = 0; r <= world->size; r++) starts[r] *= sizeof *out; /* in bytes from here on */
  sb_status status = sb_mpi_allgather_bytes(out, mine, starts, world->comm);
  sb_free(&starts);
  return status;
}

/* ---- orders ---- */

typedef struct sorter {
  const sb_channels *c;
  const sb_arch *arch;
  sb_orders *orders;
  double *sums;      /* [most] of the layer at hand */
  double *shared;    /* [hidden] of the residual stream, over all layers; order 0 in fused mode */
  double *scores;    /* of the orders of the layer at hand, one after another */
  size_t first, end; /* which orders these are */
} sorter;

static double *scores_of(const sorter *s, size_t order) {
  if (s->orders->mode == SB_REORDER_FUSED && order == 0) return s->shared;
  return s->scores + (s->orders->orders[order].from - s->orders->orders[s->first].from);
}

static void add(double *to, const double *from, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] += from[i];
}

/* The layer's sums, added up by order. */
static void add_up(sorter *s, size_t layer) {
  size_t channels = 0;
  for (size_t i = s->first; i < s->end; i++) channels += s->orders->orders[i].size;
  memset(s->scores, 0, channels * sizeof *s->scores);
  const double *sums = s->sums;
  for (size_t i = 0; i < sb_arch_matrices(s->arch, layer); i++) {
    const sb_model_tensor *t = sb_arch_matrix(s->arch, layer, i);
    const size_t tensor = (size_t)(t - s->arch->tensors);
    add(scores_of(s, s->orders->row[tensor]), sums, t->rows);
    add(scores_of(s, s->orders->col[tensor]), sums + t->rows, t->cols);
    sums += t->rows + t->cols;
  }
}

static double sum(const double *x, size_t n) {
  double total = 0;
  for (size_t i = 0; i < n; i++) total += x[i];
  return total;
}

/* `room` and `numbers` have kv_heads + heads + kv_heads head_dim places. */
static sb_status sort_heads(sorter *s, size_t layer, double *room, uint32_t *numbers) {
  const sb_config *c = &s->arch->config;
  const size_t d = c->head_dim, kv = c->kv_heads, each = c->heads / kv;
  const double *q = scores_of(s, s->orders->row[sb_arch_index(s->arch, SB_ROLE_Q, layer)]),
               *k = scores_of(s, s->orders->row[sb_arch_index(s->arch, SB_ROLE_K, layer)]),
               *v = scores_of(s, s->orders->row[sb_arch_index(s->arch, SB_ROLE_V, layer)]),
               *o = scores_of(s, s->orders->col[sb_arch_index(s->arch, SB_ROLE_O, layer)]);
  double *groups = room, *queries = groups + kv, *values = queries + c->heads;
  uint32_t *group_order = numbers, *query_order = numbers + kv,
           *value_order = query_order + c->heads;
  for (size_t h = 0; h < c->heads; h++) queries[h] = sum(q + h * d, d) + sum(o + h * d, d);
  for (size_t g = 0; g < kv; g++)
    groups[g] = sum(k + g * d, d) + sum(v + g * d, d) + sum(queries + g * each, each);
  for (size_t i = 0; i < kv * d; i++) {
    values[i] = v[i];
    for (size_t j = 0; j < each; j++) values[i] += o[(i / d * each + j) * d + i % d];
  }
  SB_TRY(sb_orders_sort(group_order, groups, kv));
  for (size_t g = 0; g < kv; g++) {
    SB_TRY(sb_orders_sort(query_order + g * each, queries + group_order[g] * each, each));
    SB_TRY(sb_orders_sort(value_order + g * d, values + group_order[g] * d, d));
  }
  sb_fused_set_heads(s->arch, s->orders, layer,
                     &(sb_fused_heads){group_order, query_order, value_order});
  return SB_OK;
}

static sb_status sort_fused_layer(sorter *s, size_t layer) {
  const sb_config *c = &s->arch->config;
  const size_t room = c->kv_heads + c->heads + c->kv_heads * c->head_dim;
  const size_t mlp = s->orders->row[sb_arch_index(s->arch, SB_ROLE_GATE, layer)];
  double *scores = NULL;
  uint32_t *numbers = NULL;
  sb_status status = SB_OK;
  SB_GO(sb_orders_sort(sb_fused_mlp(s->arch, s->orders, layer), scores_of(s, mlp),
                       s->orders->orders[mlp].size));
  SB_GO(sb_alloc(&scores, room, sizeof *scores, "scores of heads"));
  SB_GO(sb_alloc(&numbers, room, sizeof *numbers, "orders of heads"));
  SB_GO(sort_heads(s, layer, scores, numbers));
done:
  sb_free(&scores);
  sb_free(&numbers);
  return status;
}

static sb_status sort_indexed_layer(sorter *s) {
  for (size_t i = s->first; i < s->end; i++) {
    const sb_order *order = &s->orders->orders[i];
    SB_TRY(sb_orders_sort(order->from, scores_of(s, i), order->size));
  }
  return SB_OK;
}

static sb_status sort_layer(sorter *s, size_t layer) {
  s->first = s->orders->layer_start[layer];
  s->end = s->orders->layer_start[layer + 1];
  add_up(s, layer);
  return s->orders->mode == SB_REORDER_FUSED ? sort_fused_layer(s, layer) : sort_indexed_layer(s);
}

sb_status sb_channels_orders(const sb_channels *c, sb_reorder mode, sb_orders *out) {
  sb_model *m = c->model;
  const size_t hidden = m->config.hidden;
  sorter s = {.c = c, .arch = &m->arch, .orders = out};
  sb_status status = SB_OK;
  SB_GO(sb_orders_create(&m->arch, mode, out));
  SB_GO(sb_alloc(&s.sums, c->most, sizeof *s.sums, "scores of channels"));
  SB_GO(sb_alloc(&s.scores, c->most, sizeof *s.scores, "scores of channels"));
  SB_GO(sb_alloc(&s.shared, hidden, sizeof *s.shared, "scores of channels"));
done:
  status = sb_world_agree(m->world, status);
  for (size_t layer = 0; status == SB_OK && layer < m->config.layers; layer++) {
    status = sb_channels_layer(c, layer, s.sums);
    SB_THEN(sb_world_agree(m->world, sort_layer(&s, layer)));
  }
  if (status == SB_OK && mode == SB_REORDER_FUSED)
    status = sb_world_agree(m->world,
                            sb_orders_sort(sb_fused_residual(&m->arch, out), s.shared, hidden));
  if (status == SB_OK && mode == SB_REORDER_INDEXED)
    sb_orders_settle(out, m->blocking.rows, m->blocking.cols);
  sb_free(&s.sums);
  sb_free(&s.scores);
  sb_free(&s.shared);
  if (status != SB_OK) sb_orders_free(out);
  return status;
}
