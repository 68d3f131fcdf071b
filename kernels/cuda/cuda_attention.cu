/* Attention in tiles with an online soft-max (FlashAttention, arXiv 2205.14135), on tensor cores.
 *
 * A thread block has 128 queries of one head, a warp 16 of them. The block takes the keys in tiles
 * of 64, while the next tile is on its way to shared memory. Scores, probabilities and the output
 * stay in registers: the sums of the first product, rounded to bf16, are the left operand of the
 * second. */
#include "kernels/cuda/cuda_attention_tile.cuh"

constexpr int QUERIES = ATTENTION_TILE, KEYS = 64;

template <int D> struct forward_room {
  uint16_t q[QUERIES * (D + 8)];
  uint16_t k[2][KEYS * (D + 8)], v[2][KEYS * (D + 8)];
};

/* Turns one row of a thread's scores, elements 2 half and 2 half + 1 of every fragment, into
 * exp(score - highest). Updates `high` and `sum`; `sum` covers this thread's columns only. Returns
 * the factor for the output so far. */
__device__ __forceinline__ float softmax_row(float (*scores)[4], int half, float factor,
                                             float *high, float *sum) {
  float highest = *high, total = 0.0f;
#pragma unroll
  for (int n = 0; n < KEYS / 8; n++)
    highest = fmaxf(highest, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
  highest = fmaxf(highest, sb_warp_xor(highest, 1));
  highest = fmaxf(highest, sb_warp_xor(highest, 2));
  const float correction = exp2f((*high - highest) * factor), shift = -highest * factor;
#pragma unroll
  for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
    for (int i = 2 * half; i < 2 * half + 2; i++) {
      scores[n][i] = exp2f(fmaf(scores[n][i], factor, shift));
      total += scores[n][i];
    }
  *high = highest;
  *sum = fmaf(*sum, correction, total);
  return correction;
}

/* Loads the queries of this block from f32; `count` of them exist, the others are 0. */
template <int D>
__device__ __forceinline__ void load_queries(uint16_t *tile, const float *q, size_t row, int count,
                                             int d) {
  for (int pair = (int)threadIdx.x; pair < QUERIES * (D / 2); pair += ATTENTION_THREADS) {
    const int t = pair / (D / 2), column = pair % (D / 2) * 2;
    const float *from = q + (size_t)t * row + column;
    const float low = t < count && column < d ? from[0] : 0.0f;
    const float high = t < count && column + 1 < d ? from[1] : 0.0f;
    *(uint32_t *)(tile + t * (D + 8) + column) = sb_bf16_pair(low, high);
  }
}

/* Removes scores of keys that are later than the query, in a tile that meets the diagonal. */
__device__ __forceinline__ void mask_later_keys(float (&scores)[KEYS / 8][4], int key, int mine,
                                                int lane) {
#pragma unroll
  for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (key + n * 8 + lane % 4 * 2 + i % 2 > mine + lane / 4 + i / 2 * 8)
        scores[n][i] = -INFINITY;
}

/* Stores a warp's 16 rows, from query `mine` on: the output divided by the sum of probabilities,
 * and the log-sum-exp. o and lse are those of the head. */
template <int D>
__device__ __forceinline__ void store_rows(const attention_shape &s, float *o, float *lse,
                                           const float (&out)[D / 8][4], const float (&high)[2],
                                           float (&sum)[2], int mine, int lane) {
  const size_t row = (size_t)s.heads * s.d;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int t = mine + lane / 4 + half * 8;
    sum[half] += sb_warp_xor(sum[half], 1);
    sum[half] += sb_warp_xor(sum[half], 2);
    const float inverse = 1.0f / sum[half];
    float *to = o + (size_t)t * row;
#pragma unroll
    for (int n = 0; n < D / 8; n++)
      if (t < s.T)
        attention_store(to, n * 8 + lane % 4 * 2, s.d, out[n][2 * half] * inverse,
                        out[n][2 * half + 1] * inverse);
    if (t < s.T && lane % 4 == 0) lse[t] = fmaf(high[half], s.scale, logf(sum[half]));
  }
}

template <int D>
__global__ void __launch_bounds__(ATTENTION_THREADS, 1)
    attention_forward(attention_shape s, float *o, float *lse, const float *q, const uint16_t *k,
                      const uint16_t *v) {
  forward_room<D> &room = *(forward_room<D> *)sb_shared_bytes();
  const int stride = D + 8, lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
  const int head = (int)blockIdx.x, kv = head / s.group;
  const int first = ((int)gridDim.y - 1 - (int)blockIdx.y) *
                    QUERIES;          /* late queries have most to do: they start first */
  const int mine = first + warp * 16; /* this warp's first query */
  const int end = min(first + QUERIES, s.T), tiles = (end + KEYS - 1) / KEYS;
  const size_t row = (size_t)s.heads * s.d, packed_head = (size_t)attention_length(s.T) * D;
  const float factor = s.scale * ATTENTION_LOG2E;
  k += (size_t)kv * packed_head;
  v += (size_t)kv * packed_head;
  attention_load<D>(room.k[0], k, KEYS);
  attention_load<D>(room.v[0], v, KEYS);
  sb_copy_commit();
  load_queries<D>(room.q, q + (size_t)first * row + (size_t)head * s.d, row, s.T - first, s.d);

  float out[D / 8][4] = {};
  float high[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
  for (int tile = 0; tile < tiles; tile++) {
    const int key = tile * KEYS, stage = tile % 2;
    if (tile + 1 < tiles) {
      attention_load<D>(room.k[1 - stage], k + (size_t)(key + KEYS) * D, KEYS);
      attention_load<D>(room.v[1 - stage], v + (size_t)(key + KEYS) * D, KEYS);
    }
    sb_copy_commit();
    sb_copy_wait<1>();
    __syncthreads();
    if (key < mine + 16) { /* else no query of this warp sees it */
      float scores[KEYS / 8][4] = {};
      add_product_turned<D, KEYS>(scores, room.q, warp * 16, room.k[stage], stride);
      if (key + KEYS > mine + 1) mask_later_keys(scores, key, mine, lane);
      const float correction[2] = {softmax_row(scores, 0, factor, &high[0], &sum[0]),
                                   softmax_row(scores, 1, factor, &high[1], &sum[1])};
#pragma unroll
      for (int n = 0; n < D / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) out[n][i] *= correction[i / 2];
      add_product_of_sums<KEYS, D>(out, scores, room.v[stage], stride);
    }
    __syncthreads();
  }
  store_rows<D>(s, o + (size_t)head * s.d, lse + (size_t)head * s.T, out, high, sum, mine, lane);
}

template <int D>
static sb_status tiled(sb_backend *backend, cudaStream_t stream, const attention_shape *s, float *o,
                       float *lse, const float *q, const float *k, const float *v) {
  const size_t side = (size_t)s->kv_heads * (size_t)attention_length(s->T) * D;
  uint16_t *packed;
  SB_TRY(sb_cuda_scratch(backend, stream, SB_CUDA_SLOT_WORK, 2 * side * sizeof *packed, &packed));
  SB_TRY(attention_pack_launch<D>(backend, stream, packed, k, s->T, s->kv_heads, s->d));
  SB_TRY(attention_pack_launch<D>(backend, stream, packed + side, v, s->T, s->kv_heads, s->d));
  const dim3 blocks((unsigned)s->heads, (unsigned)(attention_length(s->T) / QUERIES));
  return sb_cuda_launch(backend, stream, "attention", attention_forward<D>, blocks,
                        ATTENTION_THREADS, sizeof(forward_room<D>), *s, o, lse, q, packed,
                        packed + side);
}

sb_status sb_cuda_attention_shape(attention_shape *out, const sb_attention_args *x) {
  const size_t T = x->T, heads = x->heads, kv_heads = x->kv_heads, d = x->d;
  if (kv_heads == 0 || heads % kv_heads != 0 || d == 0)
    return sb_fail(SB_ERR_INTERNAL, "attention with %zu heads of %zu over %zu KV heads", heads, d,
                   kv_heads);
  if (T > 1u << 22 || d > 1u << 12 || heads > 1u << 15)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "attention over %zu tokens, %zu heads of %zu: at most %u, %u and %u", T, heads,
                   d, 1u << 22, 1u << 15, 1u << 12);
  out->T = (int)T;
  out->heads = (int)heads;
  out->kv_heads = (int)kv_heads;
  out->d = (int)d;
  out->group = (int)(heads / kv_heads);
  out->scale = (float)(1.0 / sqrt((double)d));
  return SB_OK;
}

bool sb_cuda_attention_is_tiled(sb_backend *backend, const attention_shape *s) {
  return sb_cuda_of(backend)->compute == SB_COMPUTE_BF16 && s->d <= 128;
}

sb_status sb_cuda_attention(sb_backend *backend, sb_stream stream, const sb_attention_args *x) {
  attention_shape s;
  SB_TRY(sb_cuda_attention_shape(&s, x));
  if (x->T == 0) return SB_OK;
  const auto pass = !sb_cuda_attention_is_tiled(backend, &s) ? sb_cuda_attention_plain
                    : x->d <= 64                             ? tiled<64>
                                                             : tiled<128>;
  return pass(backend, sb_cuda_stream(backend, stream), &s, (float *)x->o, x->lse,
              (const float *)x->q, (const float *)x->k, (const float *)x->v);
}
