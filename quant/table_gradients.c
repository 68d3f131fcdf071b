#include "quant/table_gradients.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/trace.h"

enum { PIECE = 1024 }; /* rows of a table, or tokens, at a time */

struct sb_table_gradients {
  const sb_model *m;
  sb_backend *backend;
  sb_table_hooks hooks;
  size_t embedding, head; /* the tables that are these, or SB_TABLES where they are not trained */
  size_t piece, blocks;   /* rows of a piece; block columns */
  float *g;               /* device, [piece, hidden] */
  float *products;        /* device, [piece, blocks] */
  int64_t *host;          /* host, [piece, blocks]: sums or products on their way */
  int64_t *head_sums;     /* device, [groups of the head] */
  int64_t *sums[SB_TABLES];
  double seconds;
};

static bool is_trained(sb_trained what, size_t table) {
  return what.tables[table];
}

/* The table that is the LM head. */
static size_t head_of(const sb_arch *arch) {
  return arch->config.tie_embeddings ? 0 : 1;
}

/* What is allocated, in elements. */
typedef struct sizes {
  size_t gradients, products, head, tables[SB_TABLES];
} sizes;

static sizes sizes_of(const sb_sizes *z, sb_trained what) {
  const sb_config *c = &z->arch->config;
  const size_t piece = sb_min_size(PIECE, c->vocab);
  sizes out = {0};
  for (size_t i = 0; i < SB_TABLES; i++) {
    if (!is_trained(what, i)) continue;
    out.tables[i] = z->table_groups[i];
    out.products = piece * sb_div_up(c->hidden, z->blocking.cols);
    if (i != head_of(z->arch)) continue;
    out.gradients = piece * c->hidden;
    out.head = z->table_groups[i];
  }
  return out;
}

size_t sb_table_gradients_bytes(const sb_sizes *of_model, sb_trained what) {
  const sizes z = sizes_of(of_model, what);
  return sizeof(sb_table_gradients) + (z.gradients + z.products) * sizeof(float) +
         (z.products + z.head + z.tables[0] + z.tables[1]) * sizeof(int64_t);
}

sb_status sb_table_gradients_create(const sb_model *m, sb_trained what, sb_backend *b,
                                    sb_table_gradients **out) {
  const sb_sizes of_model = sb_model_sizes(m);
  const sizes z = sizes_of(&of_model, what);
  const size_t head = head_of(&m->arch);
  SB_TRY(sb_alloc(out, 1, sizeof **out, "gradients of scales"));
  sb_table_gradients *t = *out;
  t->m = m;
  t->backend = b;
  t->embedding = is_trained(what, 0) ? 0 : SB_TABLES;
  t->head = is_trained(what, head) ? head : SB_TABLES;
  t->piece = sb_min_size(PIECE, m->config.vocab);
  t->blocks = sb_tiling_block_cols(&m->tables[0].matrix.tiling);
#define DEVICE(field, count)                                                                       \
  if ((count) > 0)                                                                                 \
  SB_TRY(b->op->alloc(b, (count) * sizeof *t->field, "gradients of scales", (void **)&t->field))
  DEVICE(g, z.gradients);
  DEVICE(products, z.products);
  DEVICE(head_sums, z.head);
#undef DEVICE
  if (z.products > 0)
    SB_TRY(sb_alloc(&t->host, z.products, sizeof *t->host, "gradients of scales"));
  for (size_t i = 0; i < SB_TABLES; i++)
    if (z.tables[i] > 0)
      SB_TRY(sb_alloc(&t->sums[i], z.tables[i], sizeof *t->sums[i], "gradients of scales"));
  return SB_OK;
}

void sb_table_gradients_free(sb_table_gradients **gradients) {
  sb_table_gradients *t = *gradients;
  if (!t) return;
  t->backend->op->free(t->backend, t->g);
  t->backend->op->free(t->backend, t->products);
  t->backend->op->free(t->backend, t->head_sums);
  sb_free(&t->host);
  for (size_t i = 0; i < SB_TABLES; i++) sb_free(&t->sums[i]);
  sb_free(gradients);
}

static size_t groups_of(const sb_table_gradients *t) {
  return t->m->config.vocab * t->blocks;
}

static sb_status overflows(const sb_table_gradients *t, size_t table) {
  return sb_fail(SB_ERR_NUMERIC,
                 "%s: the gradient of a scale overflows; give it more bits (--embed-bits, "
                 "--head-bits), or --tune-seqs 0",
                 t->m->arch.tensors[t->m->tables[table].matrix.tensor].name);
}

sb_status sb_table_gradients_begin(sb_table_gradients *t) {
  sb_backend *b = t->backend;
  for (size_t i = 0; i < SB_TABLES; i++)
    if (t->sums[i]) memset(t->sums[i], 0, groups_of(t) * sizeof *t->sums[i]);
  if (!t->head_sums) return SB_OK;
  SB_TRY(b->op->zero(b, NULL, t->head_sums, groups_of(t) * sizeof *t->head_sums));
  return b->op->sync(b, NULL);
}

/* products [count, blocks] of two matrices [count, hidden]. */
static sb_status multiply(const sb_table_gradients *t, sb_stream stream, const float *g,
                          const void *w, sb_dtype dtype, size_t count) {
  const sb_tiling *of_table = &t->m->tables[0].matrix.tiling;
  const sb_tiling tiling = {count, of_table->cols, of_table->block_rows, of_table->block_cols};
  return t->backend->op->group_products(
      t->backend, stream, t->products, g, tiling.cols,
      &(sb_block_weights){.w = w, .dtype = dtype, .tiling = &tiling});
}

/* ---- as LM head ---- */

/* Of the rows [first, first + count) of those in use. */
static sb_status take_rows(sb_table_gradients *t, sb_stream stream, const sb_head_use *use,
                           size_t tokens, size_t first, size_t count) {
  sb_backend *b = t->backend;
  const size_t h = t->m->config.hidden;
  const char *weights = use->weights;
  SB_TRY(
      b->op->gemm(b, stream,
                  &(sb_gemm_args){.m = count,
                                  .n = h,
                                  .k = tokens,
                                  .a = sb_view_transposed(use->dlogits + first, SB_F32, use->rows),
                                  .b = sb_view(use->states, b->operand, h),
                                  .c = t->g,
                                  .c_dtype = SB_F32,
                                  .ldc = h}));
  SB_TRY(multiply(t, stream, t->g, weights + first * h * sb_dtype_size(b->operand), b->operand,
                  count));
  return b->op->add_multiples(b, stream, t->head_sums + (use->first_row + first) * t->blocks,
                              t->products, count * t->blocks, SB_SCALE_QUANTUM, false);
}

static sb_status hear_head(void *context, sb_stream stream, const sb_head_use *use) {
  sb_table_gradients *t = context;
  sb_status status = SB_OK;
  if (t->head == SB_TABLES) return SB_OK;
  SB_SPAN_INTO(&t->seconds, SB_TRACE_COMPUTE, "scale gradients of the head", use->first_row);
  for (size_t first = 0; status == SB_OK && first < use->rows; first += t->piece)
    status =
        take_rows(t, stream, use, use->tokens, first, sb_min_size(t->piece, use->rows - first));
  SB_THEN(t->backend->op->sync(t->backend, stream)); /* an overflow may come to light there */
  return status == SB_ERR_NUMERIC ? overflows(t, t->head) : status;
}

/* ---- as embedding ---- */

/* *sum += x in whole multiples; false where it overflows. */
static bool add(int64_t *sum, float x) {
  return fabsf(x) < 64.0f &&
         !__builtin_add_overflow(*sum, llrint((double)x / SB_SCALE_QUANTUM), sum);
}

static sb_status take_tokens(sb_table_gradients *t, sb_stream stream, const sb_embedding_use *use,
                             size_t first, size_t count) {
  sb_backend *b = t->backend;
  const size_t h = t->m->config.hidden;
  const float *products = (const float *)t->host;
  SB_TRY(multiply(t, stream, use->dx + first * h, use->x + first * h, SB_F32, count));
  SB_TRY(b->op->download(b, stream, t->host, t->products, count * t->blocks * sizeof *products));
  SB_TRY(b->op->sync(b, stream));
  for (size_t i = 0; i < count; i++) {
    int64_t *sums = t->sums[t->embedding] + use->tokens[first + i] * t->blocks;
    for (size_t j = 0; j < t->blocks; j++)
      if (!add(&sums[j], products[i * t->blocks + j])) return overflows(t, t->embedding);
  }
  return SB_OK;
}

static sb_status hear_embedding(void *context, sb_stream stream, const sb_embedding_use *use) {
  sb_table_gradients *t = context;
  if (t->embedding == SB_TABLES) return SB_OK;
  SB_SPAN_INTO(&t->seconds, SB_TRACE_COMPUTE, "scale gradients of the embedding", SB_TRACE_NONE);
  for (size_t first = 0; first < use->count; first += t->piece)
    SB_TRY(take_tokens(t, stream, use, first, sb_min_size(t->piece, use->count - first)));
  return SB_OK;
}

const sb_table_hooks *sb_table_gradients_hooks(sb_table_gradients *t) {
  t->hooks = (sb_table_hooks){t, hear_head, hear_embedding};
  return &t->hooks;
}

/* ---- of all sequences ---- */

sb_status sb_table_gradients_end(sb_table_gradients *t, size_t table, const int64_t **out) {
  sb_backend *b = t->backend;
  int64_t *sums = t->sums[table];
  const size_t groups = groups_of(t), most = t->piece * t->blocks;
  *out = sums;
  for (size_t first = 0; table == t->head && first < groups; first += most) {
    const size_t count = sb_min_size(most, groups - first);
    SB_TRY(b->op->download(b, NULL, t->host, t->head_sums + first, count * sizeof *t->host));
    SB_TRY(b->op->sync(b, NULL));
    for (size_t i = 0; i < count; i++)
      if (__builtin_add_overflow(sums[first + i], t->host[i], &sums[first + i]))
        return overflows(t, table);
  }
  return SB_OK;
}

double sb_table_gradients_seconds(const sb_table_gradients *t) {
  return t->seconds;
}
