/* A thread block has a tile. Its threads have the groups of walks (kernels/cpu/cpu_viterbi.h), all
 * states of a group in one thread or in neighbouring lanes, and the same groups at every step: so
 * levels stay where they are. Costs of walks are in shared memory; the choices of a step are one
 * word per thread in device memory. */
#include "kernels/cuda/cuda_viterbi.h"
#include "kernels/cuda/number.cuh"
#include "kernels/cuda/reduce.cuh"

extern "C" {
#include "kernels/shared/viterbi.h"
}

constexpr int STEPS = SB_TRELLIS_TILE;

/* A tile in shared memory. */
typedef struct viterbi_tile {
  int target[STEPS];   /* in the order of steps; ABSENT: padding */
  uint8_t code[STEPS]; /* in the order of the trellis */
  unsigned scratch[SB_WARP];
  unsigned group;
} viterbi_tile;
constexpr int ABSENT = 1 << 20;

/* The cut of 2^L states into threads. GROUPS of walks have 2^K states each. */
template <int L, int K> struct viterbi_cut {
  static constexpr int THREADS = L == 12   ? 256
                                 : L == 14 ? 512
                                           : 1024,
                       GROUPS = 1 << (L - K),
                       LANES = THREADS > GROUPS ? THREADS / GROUPS : 1, /* that share a group */
      EACH = GROUPS * LANES / THREADS,                                  /* groups of a thread */
      CODES = (1 << K) / LANES, PIECE = CODES < 8 ? CODES : 8,          /* states; costs per load */
      STATES = EACH * CODES, PER_MULTIPROCESSOR = 1024 / THREADS;
  /* This thread's state number i: group by group. */
  __device__ static unsigned state(int i) {
    return (threadIdx.x / LANES + (unsigned)(i / CODES * THREADS)) << K |
           (threadIdx.x % LANES * CODES + (unsigned)(i % CODES));
  }
};

template <int L, int K, bool EXL3> __device__ __forceinline__ sb_trellis trellis_of() {
  return sb_trellis_of(EXL3      ? SB_TRELLIS_EXL3
                       : L == 12 ? SB_TRELLIS_12
                       : L == 14 ? SB_TRELLIS_14
                                 : SB_TRELLIS_16,
                       K);
}

/* PIECE costs of walks from `from`, an aligned place. */
template <int PIECE>
__device__ __forceinline__ void load_costs(unsigned (&cost)[PIECE], const uint16_t *from) {
  if constexpr (PIECE == 8) {
    const uint4 four = *(const uint4 *)from;
    const unsigned words[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int e = 0; e < 8; e++) cost[e] = words[e / 2] >> 16 * (e % 2) & 0xffffu;
  } else {
#pragma unroll
    for (int w = 0; w < PIECE / 2; w++) {
      const uint32_t pair = ((const uint32_t *)from)[w];
      cost[2 * w] = pair & 0xffffu;
      cost[2 * w + 1] = pair >> 16;
    }
  }
}

/* The levels of this thread's states, times their fineness: kept as bytes in registers where the
 * trellis is narrow, in shared memory where it is wide; EXL3's take less to compute than to load.
 */
template <int L, int K, bool EXL3> struct viterbi_levels {
  typedef viterbi_cut<L, K> cut;
  static constexpr bool BYTES = !EXL3 && K <= SB_TRELLIS_NARROW, SHARED = !EXL3 && !BYTES;
  static constexpr size_t ROOM = SHARED ? sizeof(int16_t) << L : 0;
  uint32_t bytes[BYTES ? cut::STATES / 4 : 1];
  uint4 *shared; /* [STATES / 8][THREADS] */

  __device__ __forceinline__ void fill(void *room) {
    const sb_trellis t = trellis_of<L, K, EXL3>();
    shared = (uint4 *)room;
#pragma unroll
    for (int i = 0; BYTES && i < cut::STATES; i++) {
      const uint32_t level = (uint32_t)sb_trellis_level(&t, cut::state(i)) & 255u;
      bytes[i / 4] = i % 4 == 0 ? level : bytes[i / 4] | level << 8 * (i % 4);
    }
    for (int i = 0; SHARED && i < cut::STATES; i++)
      ((int16_t *)(shared + i / 8 * cut::THREADS + threadIdx.x))[i % 8] =
          sb_viterbi_level(&t, cut::state(i));
  }

  /* At the start of a step. */
  __device__ __forceinline__ void keep() {
    if constexpr (BYTES)
#pragma unroll
      for (uint32_t &word : bytes) sb_keep(word);
  }

  /* Of PIECE states from number `first` on. */
  __device__ __forceinline__ void get(int16_t (&level)[cut::PIECE], int first) const {
    const sb_trellis t = trellis_of<L, K, EXL3>();
    uint32_t words[4] = {};
    if constexpr (SHARED) {
      const uint4 four = shared[first / 8 * cut::THREADS + (int)threadIdx.x];
      words[0] = four.x, words[1] = four.y, words[2] = four.z, words[3] = four.w;
    }
#pragma unroll
    for (int e = 0; e < cut::PIECE; e++)
      if constexpr (SHARED)
        level[e] = (int16_t)(words[e / 2] >> 16 * (e % 2));
      else if constexpr (BYTES)
        level[e] = (int16_t)((int8_t)(bytes[(first + e) / 4] >> 8 * ((first + e) % 4)) *
                             sb_viterbi_fineness(&t));
      else
        level[e] = sb_viterbi_level(&t, cut::state(first + e));
  }
};

/* The best walk to this thread's group number k, as cost * 2^K + code: the least is the best. Its
 * lanes have parts of it. */
template <int L, int K, bool EXL3>
__device__ __forceinline__ unsigned
best_walk(const uint16_t *walks, const viterbi_levels<L, K, EXL3> &levels, int k, int target) {
  typedef viterbi_cut<L, K> cut;
  const sb_trellis t = trellis_of<L, K, EXL3>();
  const unsigned state = cut::state(k * cut::CODES), code = state & ((1u << K) - 1u);
  unsigned best = ~0u;
#pragma unroll
  for (int first = 0; first < cut::CODES; first += cut::PIECE) {
    unsigned cost[cut::PIECE];
    int16_t level[cut::PIECE];
    load_costs<cut::PIECE>(cost, walks + ((state + (unsigned)first) & (cut::GROUPS - 1)));
    levels.get(level, k * cut::CODES + first);
#pragma unroll
    for (int e = 0; e < cut::PIECE; e++) {
      const unsigned now =
          sb_viterbi_add(cost[e], sb_viterbi_cost((int16_t)target, level[e], sb_viterbi_shift(&t)));
      best = min(best, now << K | (code + (unsigned)(first + e)));
    }
  }
  return best;
}

/* The one walk over a weight that is absent: its code is 0. */
template <int L, int K>
__device__ __forceinline__ unsigned only_walk(const uint16_t *walks, int k) {
  const unsigned state = viterbi_cut<L, K>::state(k * viterbi_cut<L, K>::CODES);
  if ((state & ((1u << K) - 1u)) != 0) return ~0u; /* another lane has it */
  return (unsigned)walks[state & (viterbi_cut<L, K>::GROUPS - 1)] << K;
}

/* Takes the walks `count` steps around the ring, from step `first` on. choices [count, THREADS].
 * Returns, of this thread's groups after the last step, the least cost * 2^16 + group. */
template <int L, int K, bool EXL3>
__device__ __forceinline__ unsigned go_around(uint16_t *walks, viterbi_tile &tile,
                                              viterbi_levels<L, K, EXL3> &levels, unsigned first,
                                              unsigned count, uint32_t *choices) {
  typedef viterbi_cut<L, K> cut;
  const unsigned own = threadIdx.x / cut::LANES;
  unsigned least = 0;
  for (unsigned i = 0; i < count; i++) {
    const uint16_t *now = walks + i % 2 * cut::GROUPS;
    uint16_t *next = walks + (i + 1) % 2 * cut::GROUPS;
    if (i > 0 && i % SB_VITERBI_NORMALISE == 0) {
      const unsigned all = ~sb_block_max(~least, tile.scratch) >> 16;
      for (unsigned g = threadIdx.x; g < cut::GROUPS; g += cut::THREADS)
        ((uint16_t *)now)[g] = (uint16_t)sb_viterbi_less(now[g], all);
      __syncthreads();
    }
    const int target = tile.target[(first + i) % STEPS];
    unsigned best[cut::EACH];
    uint32_t word = 0;
    levels.keep();
    least = ~0u;
#pragma unroll
    for (int k = 0; k < cut::EACH; k++) {
      best[k] = target == ABSENT ? only_walk<L, K>(now, k)
                                 : best_walk<L, K, EXL3>(now, levels, k, target);
#pragma unroll
      for (int lanes = 1; lanes < cut::LANES; lanes *= 2)
        best[k] = min(best[k], sb_warp_xor(best[k], lanes));
    }
#pragma unroll
    for (int k = 0; k < cut::EACH; k++) {
      const unsigned g = own + (unsigned)(k * cut::THREADS);
      if (threadIdx.x % cut::LANES == 0) next[g] = (uint16_t)(best[k] >> K);
      least = min(least, best[k] >> K << 16 | g);
      word |= (best[k] & ((1u << K) - 1u)) << k * K;
    }
    choices[i * cut::THREADS + threadIdx.x] = word;
    __syncthreads();
  }
  return least;
}

/* Follows the best walk back from group g after `count` steps to before step `end` of the pass, and
 * leaves its codes unless `end` > 0. Returns its group there. One thread. */
template <int L, int K, bool EXL3>
__device__ __forceinline__ unsigned go_back(viterbi_tile &tile, const uint32_t *choices,
                                            unsigned count, unsigned g, unsigned end) {
  typedef viterbi_cut<L, K> cut;
  for (unsigned i = count; i-- > end;) {
    const unsigned thread = cut::LANES > 1 ? g * cut::LANES : g % cut::THREADS,
                   k = cut::LANES > 1 ? 0 : g / cut::THREADS;
    const unsigned o = choices[i * cut::THREADS + thread] >> k * K & ((1u << K) - 1u);
    if (end == 0) tile.code[EXL3 ? STEPS - 1 - i : i] = (uint8_t)o;
    g = (g << K | o) & (cut::GROUPS - 1);
  }
  return g;
}

/* Codes the tile whose targets are in shared memory, in two passes. */
template <int L, int K, bool EXL3>
__device__ __forceinline__ void code_tile(uint16_t *walks, viterbi_tile &tile,
                                          viterbi_levels<L, K, EXL3> &levels, uint32_t *choices) {
  typedef viterbi_cut<L, K> cut;
  constexpr unsigned reach = STEPS - SB_VITERBI_START; /* before and after the border */
  for (unsigned g = threadIdx.x; g < cut::GROUPS; g += cut::THREADS) walks[g] = 0;
  __syncthreads();
  const unsigned mine =
                     go_around<L, K, EXL3>(walks, tile, levels, STEPS - reach, 2 * reach, choices),
                 last = ~sb_block_max(~mine, tile.scratch) & 0xffffu;
  if (threadIdx.x == 0) tile.group = go_back<L, K, EXL3>(tile, choices, 2 * reach, last, reach);
  __syncthreads();
  const unsigned border = tile.group;
  for (unsigned g = threadIdx.x; g < cut::GROUPS; g += cut::THREADS)
    walks[g] = (uint16_t)(g == border ? 0 : SB_VITERBI_WORST);
  __syncthreads();
  (void)go_around<L, K, EXL3>(walks, tile, levels, 0, STEPS, choices);
  if (threadIdx.x == 0) (void)go_back<L, K, EXL3>(tile, choices, STEPS, border, 0);
  __syncthreads();
}

template <int L, int K, bool EXL3>
static __global__ void __launch_bounds__(viterbi_cut<L, K>::THREADS,
                                         viterbi_cut<L, K>::PER_MULTIPROCESSOR)
    viterbi(viterbi_job a, uint32_t *choices) {
  typedef viterbi_cut<L, K> cut;
  __shared__ viterbi_tile tile;
  uint16_t *walks = (uint16_t *)sb_shared_bytes();
  const sb_trellis t = trellis_of<L, K, EXL3>();
  const size_t each = (size_t)a.down * a.columns;
  viterbi_levels<L, K, EXL3> levels;
  levels.fill(walks + 2 * cut::GROUPS);
  choices += (size_t)blockIdx.x * STEPS * cut::THREADS;
  for (size_t item = blockIdx.x; item < a.count * each; item += gridDim.x) {
    const viterbi_block b = a.blocks[item / each];
    const unsigned row = (unsigned)(item % each % a.down) * t.tile_rows,
                   col = (a.column + (unsigned)(item % each / a.down)) * t.tile_cols;
    if (b.width != K || row >= b.rows || col >= b.cols) continue;
    /* thread s < 256 has weight s */
    unsigned r = 0, c = 0;
    sb_trellis_place(&t, threadIdx.x % STEPS, &r, &c);
    const bool mine = threadIdx.x < STEPS, kept = mine && row + r < b.rows && col + c < b.cols;
    const size_t at = b.first + (size_t)(row + r) * a.ld + (col + c);
    const float x = kept ? a.s[at] : 0.0f;
    if (mine)
      tile.target[EXL3 ? STEPS - 1 - threadIdx.x : threadIdx.x] =
          kept ? sb_viterbi_target(x, sb_viterbi_by(&t, b.scale), sb_viterbi_offset(&t),
                                   sb_viterbi_most(&t))
               : ABSENT;
    __syncthreads();
    code_tile<L, K, EXL3>(walks, tile, levels, choices);
    if (kept) {
      const uint32_t state = sb_trellis_state_of_codes(&t, tile.code, threadIdx.x);
      const float value = __fmul_rn(b.scale, sb_trellis_number(&t, sb_trellis_level(&t, state)));
      if (a.values) a.values[at] = value;
      if (a.codes) a.codes[at] = tile.code[threadIdx.x];
      if (a.errors) a.errors[at / a.ld * t.tile_cols + c] = x - value;
    }
    __syncthreads();
  }
}

/* Codes the blocks of width K, if there are any. */
template <int L, int K, bool EXL3>
static sb_status code_width(sb_backend *backend, cudaStream_t queue, const viterbi_job *job) {
  typedef viterbi_cut<L, K> cut;
  uint32_t *choices;
  if (!(job->widths >> K & 1u)) return SB_OK;
  const unsigned blocks =
      sb_cuda_blocks(job->count * job->down * job->columns, 1,
                     (size_t)sb_cuda_of(backend)->multiprocessors * cut::PER_MULTIPROCESSOR);
  SB_TRY(sb_cuda_scratch(backend, queue, SB_CUDA_SLOT_WALKS,
                         (size_t)blocks * STEPS * cut::THREADS * sizeof *choices, &choices));
  return sb_cuda_launch(backend, queue, "trellis codes", viterbi<L, K, EXL3>, blocks, cut::THREADS,
                        2 * cut::GROUPS * sizeof(uint16_t) + viterbi_levels<L, K, EXL3>::ROOM, *job,
                        choices);
}

template <int L, bool EXL3>
static sb_status code_widths(sb_backend *backend, cudaStream_t queue, const viterbi_job *job) {
  SB_TRY((code_width<L, 1, EXL3>(backend, queue, job)));
  SB_TRY((code_width<L, 2, EXL3>(backend, queue, job)));
  SB_TRY((code_width<L, 3, EXL3>(backend, queue, job)));
  SB_TRY((code_width<L, 4, EXL3>(backend, queue, job)));
  SB_TRY((code_width<L, 5, EXL3>(backend, queue, job)));
  SB_TRY((code_width<L, 6, EXL3>(backend, queue, job)));
  SB_TRY((code_width<L, 7, EXL3>(backend, queue, job)));
  return code_width<L, 8, EXL3>(backend, queue, job);
}

sb_status sb_cuda_viterbi(sb_backend *backend, cudaStream_t queue, const viterbi_job *job) {
  if (job->count == 0 || job->columns == 0) return SB_OK;
  switch (job->code_kind) {
  case SB_TRELLIS_12:
    return code_widths<12, false>(backend, queue, job);
  case SB_TRELLIS_14:
    return code_widths<14, false>(backend, queue, job);
  case SB_TRELLIS_16:
    return code_widths<16, false>(backend, queue, job);
  case SB_TRELLIS_EXL3:
    return code_widths<16, true>(backend, queue, job);
  default:
    return sb_fail(SB_ERR_INTERNAL, "Viterbi's algorithm for codes of kind %d",
                   (int)job->code_kind);
  }
}
