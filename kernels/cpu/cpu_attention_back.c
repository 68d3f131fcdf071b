/* Backward pass of attention (FlashAttention, arXiv 2205.14135): computes the probabilities again
 * from lse. With P = exp(S - lse) and D = rowsum(dO * O),
 *
 *   dV = P' dO
 *   dP = dO V'
 *   dS = P * (dP - D)
 *   dQ = dS K, scaled
 *   dK = dS' Q, scaled
 *
 * A unit of work is a KV head and a run of key tiles. It alone adds to dK and dV of the run, over
 * the heads of the group and the tiles of queries in order. dQ is a sum over runs: run 0, which
 * every query sees, writes dq; the other runs write parts, which are added in order afterwards. The
 * cut into runs follows from the shape, so threads change no bits. */
#include "kernels/cpu/cpu_attention.h"

#include <math.h>
#include <omp.h>

#include "base/memory.h"
#include "kernels/cpu/vec.h"

enum { ROWS = SB_CPU_TILE_ROWS, LANES = SB_LANES, UNITS = 16, MAX_RUNS = UNITS };

typedef struct pass {
  sb_attention_shape shape;
  size_t runs, start[MAX_RUNS + 1]; /* tile of keys each run starts with; start[runs] = tiles */
  float *dq, *dk, *dv;
  const float *d_o, *o, *lse, *q;
  const float *keys, *values; /* packed, [kv_heads][head] */
  float *dkeys, *dvalues;     /* their gradients, packed alike */
  float *part;                /* [runs - 1][heads][head]: dQ of runs 1.. */
  float *delta;               /* D, [heads][tiles * 64] */
} pass;

/* The scratch of one thread: a tile of queries of one head, and tiles of P and dS. */
typedef struct workspace {
  float *q, *q_t, *d_o, *d_o_t, *dq; /* [64][padded], transposed [padded][64] */
  float *p, *ds;                     /* [64 keys][64 queries] */
  float lse[ROWS], delta[ROWS];
} workspace;

static size_t workspace_floats(const sb_attention_shape *shape) {
  return 5 * ROWS * shape->padded + 2 * ROWS * ROWS;
}

static void workspace_at(const sb_attention_shape *shape, float *at, workspace *w) {
  size_t tile = ROWS * shape->padded;
  w->q = at;
  w->q_t = at + tile;
  w->d_o = at + 2 * tile;
  w->d_o_t = at + 3 * tile;
  w->dq = at + 4 * tile;
  w->p = at + 5 * tile;
  w->ds = w->p + ROWS * ROWS;
}

/* ---- preparation ---- */

/* Cuts the tiles of keys into runs of about equal work: tile j meets tiles - j tiles of queries. */
static void cut_runs(pass *s) {
  size_t tiles = s->shape.tiles, all = tiles * (tiles + 1) / 2, done = 0;
  s->runs = sb_min_size(sb_div_up(UNITS, s->shape.kv_heads), sb_max_size(tiles / 2, 1));
  s->start[0] = 0;
  for (size_t run = 1, j = 0; run <= s->runs; run++) {
    while (j < tiles && (run == s->runs || done * s->runs < all * run)) done += tiles - j++;
    s->start[run] = j;
  }
}

/* D = rowsum(dO * O), one tile of queries of one head. */
static void delta_tile(const pass *s, size_t head, size_t tile) {
  const sb_attention_shape *shape = &s->shape;
  size_t stride = shape->heads * shape->d, first = tile * ROWS;
  float *to = s->delta + head * shape->tiles * ROWS + first;
  for (size_t i = 0; i < ROWS; i++) {
    sb_vf sum = sb_vf_set(0.0f);
    if (first + i < shape->T) {
      const float *a = s->d_o + (first + i) * stride + head * shape->d,
                  *b = s->o + (first + i) * stride + head * shape->d;
      size_t c = 0;
      for (; c + LANES <= shape->d; c += LANES) sum += sb_vf_load(a + c) * sb_vf_load(b + c);
      if (c < shape->d)
        sum +=
            sb_vf_load_part(a + c, shape->d - c, 0.0f) * sb_vf_load_part(b + c, shape->d - c, 0.0f);
    }
    to[i] = sb_vf_sum(sum);
  }
}

static void load_queries(const pass *s, workspace *w, size_t head, size_t tile) {
  const sb_attention_shape *shape = &s->shape;
  size_t stride = shape->heads * shape->d, first = tile * ROWS,
         rows = sb_min_size(ROWS, shape->T - first);
  size_t at = first * stride + head * shape->d;
  sb_cpu_pack_rows(w->q, shape->padded, s->q + at, stride, rows, shape->d);
  sb_cpu_pack_rows(w->d_o, shape->padded, s->d_o + at, stride, rows, shape->d);
  sb_cpu_pack_transpose(w->q_t, w->q, shape->padded, shape->scale);
  sb_cpu_pack_transpose(w->d_o_t, w->d_o, shape->padded, 1.0f);
  memset(w->dq, 0, ROWS * shape->padded * sizeof *w->dq);
  memcpy(w->delta, s->delta + head * shape->tiles * ROWS + first, sizeof w->delta);
  /* Queries beyond T get no probability at all. */
  for (size_t i = 0; i < ROWS; i++)
    w->lse[i] = i < rows ? s->lse[head * shape->T + first + i] : INFINITY;
}

/* ---- one unit of work ---- */

/* Turns scores in w->p into P, and dP in w->ds into dS. dS carries the scale of the scores. */
static void probabilities(const workspace *w, float scale, bool diagonal) {
  const sb_vi lane = SB_LANE_NUMBERS;
  for (size_t c = 0; c < ROWS; c += LANES) {
    sb_vf lse = sb_vf_load(w->lse + c), delta = sb_vf_load(w->delta + c), factor = sb_vf_set(scale);
    size_t keys = sb_attention_keys(c, diagonal);
    for (size_t k = 0; k < keys; k++) {
      sb_vf score = sb_vf_load(w->p + k * ROWS + c);
      if (diagonal && k >= c)
        score = sb_vf_select(sb_vi_set((int32_t)(k - c)) > lane, sb_vf_set(-INFINITY), score);
      sb_vf p = sb_vf_exp(score - lse);
      sb_vf_store(w->p + k * ROWS + c, p);
      sb_vf_store(w->ds + k * ROWS + c, p * (sb_vf_load(w->ds + k * ROWS + c) - delta) * factor);
    }
  }
}

/* Stores dQ of one tile: run 0 in dq itself, the other runs in their parts. */
static void store_dq(const pass *s, const workspace *w, size_t run, size_t head, size_t tile) {
  const sb_attention_shape *shape = &s->shape;
  if (run > 0) {
    memcpy(s->part + ((run - 1) * shape->heads + head) * shape->head + tile * ROWS * shape->padded,
           w->dq, ROWS * shape->padded * sizeof *w->dq);
    return;
  }
  size_t first = tile * ROWS, rows = sb_min_size(ROWS, shape->T - first),
         stride = shape->heads * shape->d;
  for (size_t i = 0; i < rows; i++)
    memcpy(s->dq + (first + i) * stride + head * shape->d, w->dq + i * shape->padded,
           shape->d * sizeof *w->dq);
}

/* All heads of one KV head against one run of key tiles. A tile of queries is loaded once per run
 * and meets every tile of keys that it sees; dK and dV stay packed until the run ends. */
static void unit(const pass *s, workspace *w, size_t kv, size_t run) {
  const sb_attention_shape *shape = &s->shape;
  size_t begin = s->start[run], end = s->start[run + 1], padded = shape->padded,
         tile = ROWS * padded;
  const float *keys = s->keys + kv * shape->head, *values = s->values + kv * shape->head;
  float *dkeys = s->dkeys + kv * shape->head, *dvalues = s->dvalues + kv * shape->head;
  memset(dkeys + begin * tile, 0, (end - begin) * tile * sizeof *dkeys);
  memset(dvalues + begin * tile, 0, (end - begin) * tile * sizeof *dvalues);
  for (size_t head = kv * shape->group; head < (kv + 1) * shape->group; head++)
    for (size_t i = begin; i < shape->tiles; i++) {
      load_queries(s, w, head, i);
      for (size_t j = begin; j < sb_min_size(end, i + 1); j++) {
        bool diagonal = j == i;
        sb_attention_scores(shape, w->p, keys + j * tile, w->q_t, diagonal);
        sb_attention_scores(shape, w->ds, values + j * tile, w->d_o_t, diagonal);
        probabilities(w, shape->scale, diagonal);
        sb_attention_from_queries(shape, dvalues + j * tile, w->p, w->d_o, diagonal);
        sb_attention_from_queries(shape, dkeys + j * tile, w->ds, w->q, diagonal);
        sb_attention_from_keys(shape, w->dq, w->ds, keys + j * tile, diagonal);
      }
      store_dq(s, w, run, head, i);
    }
  size_t stride = shape->kv_heads * shape->d;
  for (size_t t = begin * ROWS; t < sb_min_size(end * ROWS, shape->T); t++) {
    memcpy(s->dk + t * stride + kv * shape->d, dkeys + t * padded, shape->d * sizeof *dkeys);
    memcpy(s->dv + t * stride + kv * shape->d, dvalues + t * padded, shape->d * sizeof *dvalues);
  }
}

/* ---- the whole pass ---- */

/* dq of one token += its parts, in the order of the runs. */
static void add_parts(const pass *s, size_t t) {
  const sb_attention_shape *shape = &s->shape;
  for (size_t run = 1; run < s->runs && s->start[run] * ROWS <= t; run++)
    for (size_t head = 0; head < shape->heads; head++) {
      const float *from =
          s->part + ((run - 1) * shape->heads + head) * shape->head + t * shape->padded;
      float *to = s->dq + (t * shape->heads + head) * shape->d;
      for (size_t c = 0; c < shape->d; c++) to[c] += from[c];
    }
}

sb_status sb_cpu_attention_back(sb_backend *backend, sb_stream stream, const sb_attention_args *x,
                                const void *d_o, void *dq, void *dk, void *dv) {
  (void)stream;
  pass s = {.dq = dq, .dk = dk, .dv = dv, .d_o = d_o, .o = x->o, .lse = x->lse, .q = x->q};
  float *shared, *work;
  int threads = sb_cpu_threads(backend);
  SB_TRY(sb_attention_shape_of(&s.shape, x));
  const size_t heads = x->heads, kv_heads = x->kv_heads;
  if (x->T == 0) return SB_OK;
  cut_runs(&s);
  size_t side = kv_heads * s.shape.head, per_thread = workspace_floats(&s.shape),
         tiles = s.shape.tiles;
  size_t parts = (s.runs - 1) * heads * s.shape.head, deltas = heads * tiles * ROWS;
  SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_SHARED, 4 * side + parts + deltas, sizeof *shared,
                        &shared));
  SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_THREADS, per_thread * (size_t)threads, sizeof *work,
                        &work));
  s.keys = shared;
  s.values = shared + side;
  s.dkeys = shared + 2 * side;
  s.dvalues = shared + 3 * side;
  s.part = shared + 4 * side;
  s.delta = s.part + parts;
  /* Keys and values are packed once: every unit of their head reads them many times. */
  sb_attention_pack(&s.shape, threads, shared, x->k);
  sb_attention_pack(&s.shape, threads, shared + side, x->v);
#pragma omp parallel num_threads(threads)
  {
    workspace w;
    workspace_at(&s.shape, work + (size_t)omp_get_thread_num() * per_thread, &w);
#pragma omp for collapse(2) schedule(static)
    for (size_t head = 0; head < heads; head++)
      for (size_t tile = 0; tile < tiles; tile++) delta_tile(&s, head, tile);
#pragma omp for schedule(dynamic, 1)
    for (size_t item = 0; item < s.runs * kv_heads; item++)
      unit(&s, &w, item % kv_heads, item / kv_heads);
#pragma omp for schedule(static)
    for (size_t t = 0; t < x->T; t++) add_parts(&s, t);
  }
  return SB_OK;
}
