/* Attention in tiles with an online soft-max (FlashAttention, arXiv 2205.14135). For each query it
 * keeps the highest score m so far, the sum of exp(score - m), and the output so far. Each tile of
 * keys may raise m; then sum and output are multiplied by exp(m_old - m_new). */
#include "kernels/cpu/cpu_attention.h"

#include <math.h>
#include <omp.h>

#include "base/memory.h"
#include "kernels/cpu/vec.h"

enum { ROWS = SB_CPU_TILE_ROWS, LANES = SB_LANES, STRIPS = ROWS / LANES };

/* The scratch of one thread. */
typedef struct workspace {
  float *queries;   /* [64][padded] */
  float *queries_t; /* [padded][64], scaled */
  float *scores;    /* [64 keys][64 queries] */
  float *out;       /* [64 queries][padded] */
} workspace;

static size_t workspace_floats(const sb_attention_shape *shape) {
  return 3 * ROWS * shape->padded + ROWS * ROWS;
}

static workspace workspace_at(const sb_attention_shape *shape, float *at) {
  workspace w = {.queries = at};
  w.queries_t = w.queries + ROWS * shape->padded;
  w.out = w.queries_t + ROWS * shape->padded;
  w.scores = w.out + ROWS * shape->padded;
  return w;
}

/* Turns the scores of one vector of queries, column c of a tile, into exp(score - highest). Updates
 * *high and *sum; *correction is the factor for the output so far. */
SB_INLINE void softmax_strip(float *tile, size_t c, bool diagonal, sb_vf *high, sb_vf *sum,
                             float *correction) {
  const sb_vi lane = SB_LANE_NUMBERS;
  size_t keys = sb_attention_keys(c, diagonal);
  float *scores = tile + c;
  if (diagonal)
    for (size_t k = c; k < keys; k++) {
      sb_vi later = sb_vi_set((int32_t)(k - c)) > lane;
      sb_vf_store(scores + k * ROWS,
                  sb_vf_select(later, sb_vf_set(-INFINITY), sb_vf_load(scores + k * ROWS)));
    }
  sb_vf highest = *high;
  for (size_t k = 0; k < keys; k++) highest = sb_vf_max(sb_vf_load(scores + k * ROWS), highest);
  sb_vf factor = sb_vf_exp(*high - highest), even = sb_vf_set(0.0f), odd = even;
  for (size_t k = 0; k < keys; k += 2) { /* keys is a multiple of 16 */
    sb_vf a = sb_vf_exp(sb_vf_load(scores + k * ROWS) - highest);
    sb_vf b = sb_vf_exp(sb_vf_load(scores + (k + 1) * ROWS) - highest);
    sb_vf_store(scores + k * ROWS, a);
    sb_vf_store(scores + (k + 1) * ROWS, b);
    even += a;
    odd += b;
  }
  *sum = *sum * factor + (even + odd);
  *high = highest;
  sb_vf_store(correction, factor);
}

/* One tile of queries of one head against all keys up to it. */
static void query_tile(const sb_attention_shape *shape, const workspace *w, float *o, float *lse,
                       const float *q, const float *keys, const float *values, size_t head,
                       size_t tile) {
  size_t stride = shape->heads * shape->d, first = tile * ROWS,
         rows = sb_min_size(ROWS, shape->T - first);
  size_t padded = shape->padded;
  sb_vf high[STRIPS], sum[STRIPS];
  float correction[ROWS], total[ROWS], highest[ROWS];
  for (int s = 0; s < STRIPS; s++) {
    high[s] = sb_vf_set(-INFINITY);
    sum[s] = sb_vf_set(0.0f);
  }
  sb_cpu_pack_rows(w->queries, padded, q + first * stride + head * shape->d, stride, rows,
                   shape->d);
  sb_cpu_pack_transpose(w->queries_t, w->queries, padded, shape->scale);
  memset(w->out, 0, ROWS * padded * sizeof *w->out);
  for (size_t j = 0; j <= tile; j++) {
    bool diagonal = j == tile;
    sb_attention_scores(shape, w->scores, keys + j * ROWS * padded, w->queries_t, diagonal);
    for (size_t s = 0; s < STRIPS; s++)
      softmax_strip(w->scores, s * LANES, diagonal, &high[s], &sum[s], correction + s * LANES);
    for (size_t i = 0; j > 0 && i < ROWS; i++)
      if (correction[i] != 1.0f)
        for (size_t c = 0; c < padded; c++) w->out[i * padded + c] *= correction[i];
    sb_attention_from_keys(shape, w->out, w->scores, values + j * ROWS * padded, diagonal);
  }
  for (size_t s = 0; s < STRIPS; s++) {
    sb_vf_store(total + s * LANES, sum[s]);
    sb_vf_store(highest + s * LANES, high[s]);
  }
  for (size_t i = 0; i < rows; i++) {
    float inverse = 1.0f / total[i], *to = o + (first + i) * stride + head * shape->d;
    for (size_t c = 0; c < shape->d; c++) to[c] = w->out[i * padded + c] * inverse;
    lse[head * shape->T + first + i] = highest[i] + logf(total[i]);
  }
}

sb_status sb_cpu_attention(sb_backend *backend, sb_stream stream, const sb_attention_args *x) {
  (void)stream;
  sb_attention_shape shape;
  float *packed, *work;
  int threads = sb_cpu_threads(backend);
  SB_TRY(sb_attention_shape_of(&shape, x));
  size_t side = x->kv_heads * shape.head, part = workspace_floats(&shape);
  SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_SHARED, 2 * side, sizeof *packed, &packed));
  SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_THREADS, part * (size_t)threads, sizeof *work, &work));
  sb_attention_pack(&shape, threads, packed, x->k);
  sb_attention_pack(&shape, threads, packed + side, x->v);
  /* The last tiles of queries see the most keys: they go first. */
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (size_t unit = 0; unit < shape.tiles * x->heads; unit++) {
    size_t tile = shape.tiles - 1 - unit / x->heads, head = unit % x->heads,
           kv = head / shape.group;
    workspace w = workspace_at(&shape, work + (size_t)omp_get_thread_num() * part);
    query_tile(&shape, &w, x->o, x->lse, x->q, packed + kv * shape.head,
               packed + side + kv * shape.head, head, tile);
  }
  return SB_OK;
}
