#include "kernels/cpu/cpu_gemm_split.h"

#include "base/memory.h"
#include "kernels/cpu/cpu.h"

bool sb_cpu_split_pays(const sb_gemm_args *g) {
  return g->m >= 32 && g->n >= 32 && g->k >= 32;
}

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)

#include <cpuid.h>
#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A tile register has 16 rows of 64 bytes: of A, 16 rows of 32 numbers along k; of B, 16 pairs of
 * numbers along k for each of 16 columns. */
enum { SIDE = 16, DEPTH = 32, TILE = SIDE * DEPTH, PARTS = 3, BLOCK = 2 * SIDE };
/* The product is cut into pieces whose packed operands stay in the second cache, and, for 32
 * columns, in the first. */
enum { PIECE_M = 256, PIECE_N = 512, PIECE_K = 128, SMALL_C = 1 << 18 };

static bool ask_system(void) {
  enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18, HAS_BF16 = 1 << 22, HAS_TILE = 1 << 24 };
  unsigned a, b, c, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & HAS_BF16) || !(d & HAS_TILE)) return false;
  return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

bool sb_cpu_split_able(void) {
  static int known; /* 0: not asked yet, 1: no, 2: yes */
  if (known == 0) known = ask_system() ? 2 : 1;
  return known == 2;
}

/* ---- packing ---- */

static inline __mmask16 first(size_t n) {
  return n >= SIDE ? 0xffff : (__mmask16)((1u << n) - 1u);
}

/* The next part of x: the nearest number of 8 bits, in place of a float. x becomes the rest,
 * exactly.
 */
static inline __m512i take_nearest(__m512 *x) {
  const __m512i half = _mm512_set1_epi32(0x8000), mask = _mm512_set1_epi32((int)0xffff0000);
  const __m512i part = _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(*x), half), mask);
  *x = _mm512_sub_ps(*x, _mm512_castsi512_ps(part));
  return part;
}
/* The same, cut off: of 24 bits, the nearest 8 and the next 8 leave at most 8. */
static inline __m512i take(__m512 *x) {
  const __m512i mask = _mm512_set1_epi32((int)0xffff0000);
  const __m512i part = _mm512_and_si512(_mm512_castps_si512(*x), mask);
  *x = _mm512_sub_ps(*x, _mm512_castsi512_ps(part));
  return part;
}

/* Rows become columns. */
static inline void transpose(__m512 rows[SIDE]) {
  __m512i v[SIDE], t[SIDE];
  for (int i = 0; i < SIDE; i++) v[i] = _mm512_castps_si512(rows[i]);
  for (int i = 0; i < SIDE; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  for (int i = 0; i < SIDE; i += 4)
    for (int j = 0; j < 2; j++) {
      v[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
      v[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
    }
  for (int i = 0; i < 4; i++)
    for (int half = 0; half < 2; half++) {
      t[8 * half + i] = _mm512_shuffle_i32x4(v[8 * half + i], v[8 * half + 4 + i], 0x88);
      t[8 * half + 4 + i] = _mm512_shuffle_i32x4(v[8 * half + i], v[8 * half + 4 + i], 0xdd);
    }
  for (int i = 0; i < 8; i++) {
    rows[i] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(t[i], t[8 + i], 0x88));
    rows[8 + i] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd));
  }
}

/* An operand as it lies: `sides` rows of A or columns of B, each of `depth` numbers along k. */
typedef struct operand {
  const float *x;
  size_t ld, sides, depth;
  bool along;   /* numbers along k are neighbours; else sides are */
  bool by_side; /* tiles have a row per side (A), else per pair along k (B) */
} operand;

static inline const float *at(const operand *o, size_t side, size_t depth) {
  return o->x + (o->along ? side * o->ld + depth : depth * o->ld + side);
}

/* Numbers along k are taken in pairs (l, l + 16), in A as in B: sums do not mind. So a tile comes
 * from two squares of 16 x 16 floats: low has the first 16 along k, high the other 16; rows are
 * those of the tile. What lies beyond the operand is 0. */
static inline void load(const operand *o, size_t side, size_t depth, __m512 low[SIDE],
                        __m512 high[SIDE]) {
  const size_t sides = o->sides - side, deep = o->depth - depth,
               rest = deep > SIDE ? deep - SIDE : 0;
  for (size_t i = 0; i < SIDE; i++) {
    low[i] = high[i] = _mm512_setzero_ps();
    if (o->along && i < sides) {
      low[i] = _mm512_maskz_loadu_ps(first(deep), at(o, side + i, depth));
      if (rest > 0) high[i] = _mm512_maskz_loadu_ps(first(rest), at(o, side + i, depth + SIDE));
    } else if (!o->along) {
      if (i < deep) low[i] = _mm512_maskz_loadu_ps(first(sides), at(o, side, depth + i));
      if (i < rest) high[i] = _mm512_maskz_loadu_ps(first(sides), at(o, side, depth + SIDE + i));
    }
  }
  if (o->along == o->by_side) return;
  transpose(low);
  transpose(high);
}

/* The three tiles of the sides from `side` and the numbers from `depth` on. */
static void pack_tile(uint16_t *to, const operand *o, size_t side, size_t depth) {
  __m512 low[SIDE], high[SIDE];
  if (side >= o->sides) {
    memset(to, 0, PARTS * TILE * sizeof *to);
    return;
  }
  load(o, side, depth, low, high);
  for (size_t i = 0; i < SIDE; i++)
    for (int p = 0; p < PARTS; p++) {
      const __m512i a = p == 0 ? take_nearest(&low[i]) : take(&low[i]),
                    b = p == 0 ? take_nearest(&high[i]) : take(&high[i]);
      _mm512_storeu_si512(to + p * TILE + i * DEPTH, _mm512_or_si512(_mm512_srli_epi32(a, 16), b));
    }
}

/* ---- multiplying ---- */

typedef struct tile_config {
  uint8_t palette, start, reserved[14];
  uint16_t bytes_per_row[16];
  uint8_t rows[16];
} tile_config;

static void begin_tiles(void) {
  tile_config config = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    config.bytes_per_row[i] = DEPTH * sizeof(uint16_t);
    config.rows[i] = SIDE;
  }
  _tile_loadconfig(&config);
}

/* out [32, 32] = the sum over `steps` steps of k of two rows of tiles times two columns. a and b
 * point at the first of them, the second lies `next` numbers on. The parts come in an order in
 * which one operand stays. */
static void multiply_block(float *out, const uint16_t *a, const uint16_t *b, size_t next,
                           size_t steps) {
#define A(part)                                                                                    \
  _tile_loadd(4, a + (part)*TILE, DEPTH * sizeof *a);                                              \
  _tile_loadd(5, a + next + (part)*TILE, DEPTH * sizeof *a)
#define B(part)                                                                                    \
  _tile_loadd(6, b + (part)*TILE, DEPTH * sizeof *b);                                              \
  _tile_loadd(7, b + next + (part)*TILE, DEPTH * sizeof *b)
#define MULTIPLY                                                                                   \
  _tile_dpbf16ps(0, 4, 6);                                                                         \
  _tile_dpbf16ps(1, 4, 7);                                                                         \
  _tile_dpbf16ps(2, 5, 6);                                                                         \
  _tile_dpbf16ps(3, 5, 7)
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (size_t s = 0; s < steps; s++) {
    A(2);
    B(0);
    MULTIPLY;
    A(1);
    MULTIPLY;
    B(1);
    MULTIPLY;
    A(0);
    MULTIPLY;
    B(2);
    MULTIPLY;
    B(0);
    MULTIPLY;
    a += PARTS * TILE;
    b += PARTS * TILE;
  }
  _tile_stored(0, out, BLOCK * sizeof *out);
  _tile_stored(1, out + SIDE, BLOCK * sizeof *out);
  _tile_stored(2, out + SIDE * BLOCK, BLOCK * sizeof *out);
  _tile_stored(3, out + SIDE * BLOCK + SIDE, BLOCK * sizeof *out);
#undef A
#undef B
#undef MULTIPLY
}

/* c [rows, cols] = alpha block, or += if `add`. */
static void store_block(float *c, size_t ldc, const float *block, size_t rows, size_t cols,
                        float alpha, bool add) {
  const __m512 factor = _mm512_set1_ps(alpha);
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < cols; j += SIDE) {
      const __mmask16 mask = first(cols - j);
      float *to = c + i * ldc + j;
      __m512 x = _mm512_mul_ps(factor, _mm512_loadu_ps(block + i * BLOCK + j));
      if (add) x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(mask, to));
      _mm512_mask_storeu_ps(to, mask, x);
    }
}

/* ---- the product, piece by piece ---- */

typedef struct piece {
  operand a, b;
  uint16_t *packed_a, *packed_b; /* [sides / 16, steps, PARTS, TILE] */
  size_t steps;                  /* of k */
  float *c;
  size_t ldc;
  float alpha;
  bool add;
} piece;

static size_t tiles_of(const operand *o) {
  return sb_div_up(o->sides, BLOCK) * 2;
}

/* By all threads of a team. */
static void pack(const piece *z, const operand *o, uint16_t *to) {
  const size_t count = tiles_of(o) * z->steps;
#pragma omp for schedule(static)
  for (size_t i = 0; i < count; i++)
    pack_tile(to + i * PARTS * TILE, o, i / z->steps * SIDE, i % z->steps * DEPTH);
}

/* By all threads of a team. */
static void multiply(const piece *z) {
  const size_t down = tiles_of(&z->a) / 2, across = tiles_of(&z->b) / 2,
               next = z->steps * PARTS * TILE;
  _Alignas(64) float block[BLOCK * BLOCK];
#pragma omp for schedule(static)
  for (size_t i = 0; i < down * across; i++) {
    const size_t row = i % down, col = i / down; /* a column of B's tiles stays in cache */
    multiply_block(block, z->packed_a + 2 * row * next, z->packed_b + 2 * col * next, next,
                   z->steps);
    store_block(z->c + row * BLOCK * z->ldc + col * BLOCK, z->ldc, block,
                sb_min_size(BLOCK, z->a.sides - row * BLOCK),
                sb_min_size(BLOCK, z->b.sides - col * BLOCK), z->alpha, z->add);
  }
}

/* Rows [i, ...) of C, columns [j, ...), terms [p, ...) of its sums. */
static piece piece_of(const sb_gemm_args *g, float alpha, size_t i, size_t j, size_t p) {
  const size_t m = sb_min_size(PIECE_M, g->m - i), n = sb_min_size(PIECE_N, g->n - j),
               k = sb_min_size(PIECE_K, g->k - p);
  const float *a = g->a.data, *b = g->b.data;
  return (piece){.a = {.x = a + (g->a.transposed ? p * g->a.ld + i : i * g->a.ld + p),
                       .ld = g->a.ld,
                       .sides = m,
                       .depth = k,
                       .along = !g->a.transposed,
                       .by_side = true},
                 .b = {.x = b + (g->b.transposed ? j * g->b.ld + p : p * g->b.ld + j),
                       .ld = g->b.ld,
                       .sides = n,
                       .depth = k,
                       .along = g->b.transposed},
                 .steps = sb_div_up(k, DEPTH),
                 .c = (float *)g->c + i * g->ldc + j,
                 .ldc = g->ldc,
                 .alpha = alpha,
                 .add = g->add || p > 0};
}

/* The order of the pieces. If C fits into the second cache, k comes outermost, and an operand that
 * several pieces share is packed once. Otherwise k comes innermost: a piece of C stays in the cache
 * until it is complete, and operands are packed again. */
typedef struct order {
  size_t down, across, deep; /* pieces along m, n, k */
  bool small;
} order;

typedef struct place {
  size_t i, j, p;    /* numbers of the piece */
  bool new_a, new_b; /* other operands than the piece before had */
} place;

static place place_of(const order *o, size_t at) {
  if (!o->small)
    return (place){at / o->deep % o->down, at / o->deep / o->down, at % o->deep, true, true};
  const size_t i = at % o->down, j = at / o->down % o->across;
  return (place){i, j, at / o->down / o->across, j == 0 || o->down > 1, i == 0};
}

sb_status sb_cpu_split_gemm(sb_backend *backend, int threads, const sb_gemm_args *g, float alpha) {
  const order o = {sb_div_up(g->m, PIECE_M), sb_div_up(g->n, PIECE_N), sb_div_up(g->k, PIECE_K),
                   g->m * g->n <= SMALL_C};
  const size_t depth = sb_div_up(sb_min_size(g->k, PIECE_K), DEPTH) * DEPTH * PARTS,
               most_a = sb_div_up(sb_min_size(g->m, PIECE_M), BLOCK) * BLOCK,
               most_b = sb_div_up(sb_min_size(g->n, PIECE_N), BLOCK) * BLOCK;
  uint16_t *packed_a, *packed_b;
  SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_A, most_a * depth, sizeof *packed_a, &packed_a));
  SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_B, most_b * depth, sizeof *packed_b, &packed_b));
#pragma omp parallel num_threads(threads)
  {
    begin_tiles();
    for (size_t at = 0; at < o.down * o.across * o.deep; at++) {
      const place here = place_of(&o, at);
      piece z = piece_of(g, alpha, here.i * PIECE_M, here.j * PIECE_N, here.p * PIECE_K);
      z.packed_a = packed_a;
      z.packed_b = packed_b;
      if (here.new_b) pack(&z, &z.b, packed_b);
      if (here.new_a) pack(&z, &z.a, packed_a);
      multiply(&z);
    }
    _tile_release();
  }
  return SB_OK;
}

#else

bool sb_cpu_split_able(void) {
  return false;
}

sb_status sb_cpu_split_gemm(sb_backend *backend, int threads, const sb_gemm_args *g, float alpha) {
  (void)backend, (void)threads, (void)g, (void)alpha;
  return sb_fail(SB_ERR_INTERNAL, "this build has no products by AMX");
}

#endif
