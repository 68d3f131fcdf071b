/* Backward pass of attention on tensor cores (FlashAttention, arXiv 2205.14135): computes the
 * probabilities again from lse. With P = exp(S - lse) and D = rowsum(dO * O),
 *
 *   dV = P' dO
 *   dP = dO V'
 *   dS = P * (dP - D)
 *   dQ = dS K, scaled
 *   dK = dS' Q, scaled
 *
 * Two kernels, so that every sum belongs to one warp and has one order. attention_back_keys has 128
 * keys per block and takes the queries that see them. attention_back_queries has 128 queries per
 * block and takes the keys they see. The first one holds scores transposed: P' and dS' are then
 * left operands as they come out of the product before.
 *
 * If KV heads and tiles of keys are too few to fill the device, the query heads of a KV head are
 * cut into parts. Their sums are added in order afterwards. */
#include "kernels/cuda/cuda_attention_tile.cuh"
#include "kernels/cuda/reduce.cuh"

constexpr int KEYS = ATTENTION_TILE, QUERIES = ATTENTION_TILE,
              STEP = 32 /* queries, or keys, at a time */, BLOCKS = 512;

/* delta[head][t] = sum over the head of dO * O, one warp each. dP - delta is small where both are
 * large, so dO is rounded here (BF16) where dP is made of the rounded one. */
template <bool BF16>
__global__ void attention_delta(attention_shape s, float *delta, const float *d_o, const float *o) {
  const int lane = (int)threadIdx.x % 32;
  const size_t item = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) / 32, heads = (size_t)s.heads;
  if (item >= heads * (size_t)s.T) return;
  const float *a = d_o + item * (size_t)s.d, *b = o + item * (size_t)s.d;
  float sum = 0.0f;
  for (int c = lane; c < s.d; c += 32)
    sum = fmaf(BF16 ? sb_bits_float((uint32_t)sb_bf16_bits(a[c]) << 16) : a[c], b[c], sum);
  sum = sb_warp_sum(sum);
  if (lane == 0) delta[item % heads * (size_t)s.T + item / heads] = sum;
}

/* Turns a score into P and its dP into dS. lse is the log-sum-exp times log2 e. */
__device__ __forceinline__ void gradient_of_score(float &score, float &dp, bool seen, float factor,
                                                  float lse, float delta) {
  const float p = seen ? exp2f(fmaf(score, factor, -lse)) : 0.0f;
  score = p;
  dp = p * (dp - delta);
}

/* ---- dK and dV: a block has a tile of keys ---- */

template <int D> struct keys_room {
  uint16_t k[KEYS * (D + 8)], v[KEYS * (D + 8)];
  uint16_t q[2][STEP * (D + 8)], d_o[2][STEP * (D + 8)];
  float lse[2][STEP], delta[2][STEP];
};

typedef struct back_data {
  const uint16_t *q, *d_o, *k, *v; /* packed heads */
  const float *lse, *delta;        /* [heads, T] */
} back_data;

/* Loads STEP queries of one head from `first` on, with their dO, lse and delta. Queries beyond T
 * get lse = infinity, and so no probability. */
template <int D>
__device__ __forceinline__ void load_step(keys_room<D> &room, int stage, const attention_shape &s,
                                          const back_data &x, int head, int first) {
  const size_t at = ((size_t)head * (size_t)attention_length(s.T) + (size_t)first) * D;
  attention_load<D>(room.q[stage], x.q + at, STEP);
  attention_load<D>(room.d_o[stage], x.d_o + at, STEP);
  if (threadIdx.x < STEP) {
    const int t = first + (int)threadIdx.x;
    const bool valid = t < s.T;
    const size_t row = (size_t)head * (size_t)s.T + (size_t)t;
    room.lse[stage][threadIdx.x] = valid ? x.lse[row] * ATTENTION_LOG2E : INFINITY;
    room.delta[stage][threadIdx.x] = valid ? x.delta[row] : 0.0f;
  }
}

/* dk, dv: [parts][T, kv_heads * d]. Grid: (KV heads x parts, tiles of keys). */
template <int D>
__global__ void __launch_bounds__(ATTENTION_THREADS, 1)
    attention_back_keys(attention_shape s, float *dk, float *dv, back_data x, int parts) {
  keys_room<D> &room = *(keys_room<D> *)sb_shared_bytes();
  const int stride = D + 8, lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
  const int kv = (int)blockIdx.x / parts, part = (int)blockIdx.x % parts, heads = s.group / parts;
  const int first = (int)blockIdx.y * KEYS; /* early keys, which most queries see, start first */
  const int mine = first + warp * 16;       /* this warp's first key */
  const int head0 = kv * s.group + part * heads, steps = (s.T - first + STEP - 1) / STEP,
            all = heads * steps;
  const size_t at = ((size_t)kv * (size_t)attention_length(s.T) + (size_t)first) * D;
  const float factor = s.scale * ATTENTION_LOG2E;
  attention_load<D>(room.k, x.k + at, KEYS);
  attention_load<D>(room.v, x.v + at, KEYS);
  load_step<D>(room, 0, s, x, head0, first);
  sb_copy_commit();

  float sum_k[D / 8][4] = {}, sum_v[D / 8][4] = {};
  for (int step = 0; step < all; step++) {
    const int stage = step % 2, query = first + step % steps * STEP, next = step + 1;
    if (next < all)
      load_step<D>(room, 1 - stage, s, x, head0 + next / steps, first + next % steps * STEP);
    sb_copy_commit();
    sb_copy_wait<1>();
    __syncthreads();
    if (query + STEP > mine) { /* else all queries of the step come before this warp's keys */
      float p[STEP / 8][4] = {}, ds[STEP / 8][4] = {};
      add_product_turned<D, STEP>(p, room.k, warp * 16, room.q[stage], stride);
      add_product_turned<D, STEP>(ds, room.v, warp * 16, room.d_o[stage], stride);
#pragma unroll
      for (int n = 0; n < STEP / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int column = n * 8 + lane % 4 * 2 + i % 2;
          gradient_of_score(p[n][i], ds[n][i], mine + lane / 4 + i / 2 * 8 <= query + column,
                            factor, room.lse[stage][column], room.delta[stage][column]);
        }
      add_product_of_sums<STEP, D>(sum_v, p, room.d_o[stage], stride);
      add_product_of_sums<STEP, D>(sum_k, ds, room.q[stage], stride);
    }
    __syncthreads();
  }

#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int t = mine + lane / 4 + half * 8;
    const size_t row =
        (((size_t)part * (size_t)s.T + (size_t)t) * (size_t)s.kv_heads + (size_t)kv) * (size_t)s.d;
#pragma unroll
    for (int n = 0; n < D / 8; n++) {
      if (t >= s.T) continue;
      const int column = n * 8 + lane % 4 * 2;
      attention_store(dk + row, column, s.d, sum_k[n][2 * half] * s.scale,
                      sum_k[n][2 * half + 1] * s.scale);
      attention_store(dv + row, column, s.d, sum_v[n][2 * half], sum_v[n][2 * half + 1]);
    }
  }
}

/* out[n] = the sum of part[0 .. parts)[n], in order. */
__global__ void attention_add_parts(float *out, const float *part, size_t n, int parts) {
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n;
       i += (size_t)gridDim.x * blockDim.x) {
    float sum = part[i];
    for (int p = 1; p < parts; p++) sum += part[(size_t)p * n + i];
    out[i] = sum;
  }
}

/* ---- dQ: a block has a tile of queries ---- */

template <int D> struct queries_room {
  uint16_t q[QUERIES * (D + 8)], d_o[QUERIES * (D + 8)];
  uint16_t k[2][STEP * (D + 8)], v[2][STEP * (D + 8)];
};

/* Stores a warp's 16 rows of dq, from query `mine` on. */
template <int D>
__device__ __forceinline__ void store_queries(const attention_shape &s, float *dq,
                                              const float (&sum)[D / 8][4], int head, int mine,
                                              int lane) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int t = mine + lane / 4 + half * 8;
    float *to = dq + ((size_t)t * (size_t)s.heads + (size_t)head) * (size_t)s.d;
#pragma unroll
    for (int n = 0; n < D / 8; n++)
      if (t < s.T)
        attention_store(to, n * 8 + lane % 4 * 2, s.d, sum[n][2 * half] * s.scale,
                        sum[n][2 * half + 1] * s.scale);
  }
}

/* Grid: (heads, tiles of queries). Late tiles have most keys, so they start first. */
template <int D>
__global__ void __launch_bounds__(ATTENTION_THREADS, 1)
    attention_back_queries(attention_shape s, float *dq, back_data x) {
  queries_room<D> &room = *(queries_room<D> *)sb_shared_bytes();
  const int stride = D + 8, lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
  const int head = (int)blockIdx.x, kv = head / s.group;
  const int first = ((int)gridDim.y - 1 - (int)blockIdx.y) * QUERIES, mine = first + warp * 16;
  const int steps = (min(first + QUERIES, s.T) + STEP - 1) / STEP;
  const size_t length = (size_t)attention_length(s.T),
               at = ((size_t)head * length + (size_t)first) * D;
  const uint16_t *k = x.k + (size_t)kv * length * D, *v = x.v + (size_t)kv * length * D;
  const float factor = s.scale * ATTENTION_LOG2E;
  attention_load<D>(room.q, x.q + at, QUERIES);
  attention_load<D>(room.d_o, x.d_o + at, QUERIES);
  attention_load<D>(room.k[0], k, STEP);
  attention_load<D>(room.v[0], v, STEP);
  sb_copy_commit();
  float lse[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int t = mine + lane / 4 + half * 8;
    const size_t row = (size_t)head * (size_t)s.T + (size_t)t;
    lse[half] = t < s.T ? x.lse[row] * ATTENTION_LOG2E : INFINITY;
    delta[half] = t < s.T ? x.delta[row] : 0.0f;
  }

  float sum[D / 8][4] = {};
  for (int step = 0; step < steps; step++) {
    const int stage = step % 2, key = step * STEP;
    if (step + 1 < steps) {
      attention_load<D>(room.k[1 - stage], k + (size_t)(key + STEP) * D, STEP);
      attention_load<D>(room.v[1 - stage], v + (size_t)(key + STEP) * D, STEP);
    }
    sb_copy_commit();
    sb_copy_wait<1>();
    __syncthreads();
    if (key < mine + 16) {
      float p[STEP / 8][4] = {}, ds[STEP / 8][4] = {};
      add_product_turned<D, STEP>(p, room.q, warp * 16, room.k[stage], stride);
      add_product_turned<D, STEP>(ds, room.d_o, warp * 16, room.v[stage], stride);
#pragma unroll
      for (int n = 0; n < STEP / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
          gradient_of_score(p[n][i], ds[n][i],
                            key + n * 8 + lane % 4 * 2 + i % 2 <= mine + lane / 4 + i / 2 * 8,
                            factor, lse[i / 2], delta[i / 2]);
      add_product_of_sums<STEP, D>(sum, ds, room.k[stage], stride);
    }
    __syncthreads();
  }
  store_queries<D>(s, dq, sum, head, mine, lane);
}

/* ---- launches ---- */

/* The number of parts for the query heads of a KV head: the fewest that make enough blocks. */
static int parts_of(const attention_shape *s) {
  const int blocks = s->kv_heads * (attention_length(s->T) / KEYS);
  for (int parts = 1; parts < s->group; parts++)
    if (s->group % parts == 0 && blocks * parts >= BLOCKS) return parts;
  return s->group;
}

/* Inputs and results of the backward pass. */
typedef struct back_args {
  const float *q, *k, *v, *o, *lse, *d_o;
  float *dq, *dk, *dv;
} back_args;

template <int D>
static sb_status tiled(sb_backend *backend, cudaStream_t stream, const attention_shape *s,
                       const back_args *x) {
  const size_t length = (size_t)attention_length(s->T), side = (size_t)s->heads * length * D;
  const size_t kv_side = (size_t)s->kv_heads * length * D, rows = (size_t)s->heads * (size_t)s->T;
  const size_t n = (size_t)s->T * (size_t)s->kv_heads * (size_t)s->d;
  const int parts = parts_of(s);
  float *delta;
  SB_TRY(sb_cuda_scratch(backend, stream, SB_CUDA_SLOT_WORK,
                         (rows + (parts > 1 ? 2 * (size_t)parts * n : 0)) * sizeof(float) + 256 +
                             2 * (side + kv_side) * sizeof(uint16_t),
                         &delta));
  /* Scratch holds delta, the parts of dk and dv if they are summed, and packed q, dO, k, v. */
  float *part_k = delta + (rows + 63) / 64 * 64, *part_v = part_k + (size_t)parts * n;
  uint16_t *packed = (uint16_t *)(parts > 1 ? part_v + (size_t)parts * n : part_k);
  packed = (uint16_t *)(((uintptr_t)packed + 15) / 16 * 16);
  const back_data data = {packed, packed + side, packed + 2 * side, packed + 2 * side + kv_side,
                          x->lse, delta};
  SB_TRY(sb_cuda_launch(backend, stream, "attention_back", attention_delta<true>,
                        sb_cuda_blocks(rows * 32, 256, rows), 256, 0, *s, delta, x->d_o, x->o));
  SB_TRY(attention_pack_launch<D>(backend, stream, packed, x->q, s->T, s->heads, s->d));
  SB_TRY(attention_pack_launch<D>(backend, stream, packed + side, x->d_o, s->T, s->heads, s->d));
  SB_TRY(
      attention_pack_launch<D>(backend, stream, packed + 2 * side, x->k, s->T, s->kv_heads, s->d));
  SB_TRY(attention_pack_launch<D>(backend, stream, packed + 2 * side + kv_side, x->v, s->T,
                                  s->kv_heads, s->d));
  const unsigned tiles = (unsigned)(length / ATTENTION_TILE);
  SB_TRY(sb_cuda_launch(backend, stream, "attention_back", attention_back_keys<D>,
                        dim3((unsigned)(s->kv_heads * parts), tiles), ATTENTION_THREADS,
                        sizeof(keys_room<D>), *s, parts > 1 ? part_k : x->dk,
                        parts > 1 ? part_v : x->dv, data, parts));
  if (parts > 1) {
    SB_TRY(sb_cuda_launch(backend, stream, "attention_back", attention_add_parts,
                          sb_cuda_blocks_for(backend, n), SB_CUDA_THREADS, 0, x->dk, part_k, n,
                          parts));
    SB_TRY(sb_cuda_launch(backend, stream, "attention_back", attention_add_parts,
                          sb_cuda_blocks_for(backend, n), SB_CUDA_THREADS, 0, x->dv, part_v, n,
                          parts));
  }
  return sb_cuda_launch(backend, stream, "attention_back", attention_back_queries<D>,
                        dim3((unsigned)s->heads, tiles), ATTENTION_THREADS, sizeof(queries_room<D>),
                        *s, x->dq, data);
}

static sb_status plain(sb_backend *backend, cudaStream_t stream, const attention_shape *s,
                       const back_args *x) {
  const size_t rows = (size_t)s->heads * (size_t)s->T;
  float *delta;
  SB_TRY(sb_cuda_scratch(backend, stream, SB_CUDA_SLOT_WORK, rows * sizeof *delta, &delta));
  SB_TRY(sb_cuda_launch(backend, stream, "attention_back", attention_delta<false>,
                        sb_cuda_blocks(rows * 32, 256, rows), 256, 0, *s, delta, x->d_o, x->o));
  return sb_cuda_attention_back_plain(backend, stream, s, x->dq, x->dk, x->dv, x->d_o, x->lse,
                                      delta, x->q, x->k, x->v);
}

sb_status sb_cuda_attention_back(sb_backend *backend, sb_stream stream,
                                 const sb_attention_args *args, const void *d_o, void *dq, void *dk,
                                 void *dv) {
  attention_shape s;
  SB_TRY(sb_cuda_attention_shape(&s, args));
  if (args->T == 0) return SB_OK;
  back_args x = {};
  x.q = (const float *)args->q;
  x.k = (const float *)args->k;
  x.v = (const float *)args->v;
  x.o = (const float *)args->o;
  x.lse = args->lse;
  x.d_o = (const float *)d_o;
  x.dq = (float *)dq;
  x.dk = (float *)dk;
  x.dv = (float *)dv;
  const auto pass = !sb_cuda_attention_is_tiled(backend, &s) ? plain
                    : args->d <= 64                          ? tiled<64>
                                                             : tiled<128>;
  return pass(backend, sb_cuda_stream(backend, stream), &s, &x);
}
