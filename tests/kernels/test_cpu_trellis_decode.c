/* Kernels for trellis codes, every set that this processor has: levels of all states of all kinds
 * and widths, and products, against codes that are read bit by bit from the description in
 * kernels/shared/trellis.h and multiplied in double precision. Codes lie between pages that cannot
 * be read, once at the end of one and once at the start. */
#include "tests/kernels/check.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/random.h"
#include "kernels/alphabet_trellis.h"
#include "kernels/cpu/cpu_packed.h"
#include "kernels/cpu/cpu_trellis_decode.h"

static const sb_code_kind kinds[] = {SB_TRELLIS_12, SB_TRELLIS_14, SB_TRELLIS_16};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- naive ---- */

static unsigned naive_state(const sb_trellis *t, const uint8_t *tile, unsigned s) {
  unsigned state = 0;
  for (unsigned i = 0; i < t->state_bits; i++) {
    const unsigned b = (s * t->width + i) % (256 * t->width);
    state |= (tile[b / 8] >> b % 8 & 1u) << i;
  }
  return state;
}

/* The level of a state, from the numbers of trellis.h. */
static int naive_level(const sb_trellis *t, unsigned state) {
  const unsigned low = state % 256, high = t->state_bits == 12 ? state / 64 : state / 256;
  const unsigned product = (low + 256 * high) * t->multiplier,
                 p = (t->state_bits == 16 ? product / 4 : product) % 16384;
  const int i = p / 256 < 32 ? (int)(p / 256) : (int)(p / 256) - 64;
  if (t->width <= 3) return sb_trellis_middle(i);
  return (int)floor(
      (255 * sb_trellis_edge(i) + (int)(p % 256) * (sb_trellis_edge(i + 1) - sb_trellis_edge(i))) /
      32.0);
}

/* w[r, c] of a strip of 64 x 4 `tiles`. */
static void naive_strip(double *w, const sb_trellis *t, const sb_strip *strip) {
  for (size_t n = 0; n < strip->tiles; n++)
    for (unsigned s = 0; s < 256; s++) {
      const unsigned row = s / 2 % 64, col = s % 2 + s / 128 * 2;
      w[row * 4 * strip->tiles + 4 * n + col] =
          naive_level(t, naive_state(t, strip->codes + n * strip->stride, s));
    }
}

/* ---- codes at the edge of memory ---- */

typedef struct edge {
  uint8_t *pages;
  size_t page;
} edge;

static edge edge_make(void) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  edge e = {mmap(NULL, 18 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), page};
  assert_ptr_not_equal(e.pages, MAP_FAILED);
  assert_int_equal(mprotect(e.pages + page, 16 * page, PROT_READ | PROT_WRITE), 0);
  return e;
}
/* Room for `bytes`, random, that ends, or begins, where nothing can be read. */
static uint8_t *edge_codes(const edge *e, size_t bytes, bool end, uint64_t seed) {
  assert_true(bytes <= 16 * e->page);
  uint8_t *codes = end ? e->pages + 17 * e->page - bytes : e->pages + e->page;
  for (size_t i = 0; i < bytes; i++) codes[i] = (uint8_t)sb_mix64_with(seed, i);
  return codes;
}
static void edge_free(edge *e) {
  munmap(e->pages, 18 * e->page);
}

static const sb_trellis_kernels *kernels_at(int level) {
  const sb_packed_kernels *k = sb_packed_kernels_at((sb_cpu_level)level);
  return k ? k->trellis : NULL;
}

/* ---- tests ---- */

/* Random tiles until every state has been met, and every one has its level. */
static void check_levels(const sb_trellis_kernels *k, const sb_trellis *t, const edge *e) {
  static uint8_t met[1 << 16];
  static int16_t levels[2 * SB_TRELLIS_TILE];
  const size_t bytes = sb_trellis_tile_bytes(t), states = (size_t)1 << t->state_bits;
  size_t left = states;
  memset(met, 0, sizeof met);
  for (uint64_t seed = 1; left > 0; seed++) {
    assert_true(seed < 100000);
    const sb_strip strip = {edge_codes(e, 3 * bytes, seed % 2, seed), 2 * bytes, 2, 64};
    k->levels(levels, t, &strip);
    for (unsigned i = 0; i < 2 * SB_TRELLIS_TILE; i++) {
      const unsigned state = naive_state(t, strip.codes + i / 256 * strip.stride, i % 256);
      if (levels[i] != naive_level(t, state))
        fail_msg("%s, 2^%u states, %u bits: level %u is %d, state %u has %d", k->name,
                 t->state_bits, t->width, i, levels[i], state, naive_level(t, state));
      left -= !met[state];
      met[state] = 1;
    }
  }
}

static void levels_of_all_states(void **unused) {
  (void)unused;
  edge e = edge_make();
  for (int level = 0; level < SB_CPU_LEVELS; level++)
    for (size_t i = 0; i < KINDS && kernels_at(level); i++)
      for (unsigned width = 1; width <= 8; width++) {
        const sb_trellis t = sb_trellis_of(kinds[i], width);
        check_levels(kernels_at(level), &t, &e);
      }
  edge_free(&e);
}

/* x is kept to 2^-30 of the largest of its run. */
static void inputs(void **unused) {
  (void)unused;
  static sb_strip_input in;
  float *x = check_random(100, 3.0f, 5), largest = 0.0f;
  for (size_t c = 0; c < 100; c++) largest = fmaxf(largest, fabsf(x[c]));
  sb_strip_input_make(&in, x, 100);
  for (size_t c = 0; c < SB_STRIP_COLS; c++) {
    int16_t part[2];
    for (size_t h = 0; h < 2; h++)
      memcpy(&part[h], (const char *)&in.pairs[c / 2 * 2 + h] + c % 2 * 2, sizeof part[h]);
    const double got = (double)in.scale * (32768.0 * part[0] + part[1]);
    /* Half of a unit of 2^-29, and a scale that was rounded to 2^-24. */
    assert_true(fabs(got - (c < 100 ? (double)x[c] : 0.0)) <=
                (double)largest * 0x1p-30 + fabs(got) * 0x1p-24);
  }
  memset(x, 0, 100 * sizeof *x);
  sb_strip_input_make(&in, x, 100);
  assert_true(in.scale == 0.0f && in.pairs[0] == 0);
  x[7] = -INFINITY;
  sb_strip_input_make(&in, x, 100);
  assert_true(isnan(in.scale));
}

/* Values of a ragged block, strip by strip, column by column and row by row: the bits that the rule
 * of numbers gives, of all kinds. */
static void check_values(const sb_trellis_kernels *k, sb_code_kind kind, unsigned width) {
  enum { ROWS = 150, COLS = 300, LD = 320 };
  static const float scale = 0.3f;
  static float want[ROWS * COLS], columns[SB_STRIP_LEVELS], rows[(ROWS + SB_STRIP_ROWS) * LD];
  static uint8_t codes[8 * 192 * 304 / 8];
  const sb_block_shape shape = {ROWS, COLS, width, kind};
  const sb_trellis t = sb_trellis_of(kind, width);
  for (size_t i = 0; i < sizeof codes; i++) codes[i] = (uint8_t)sb_mix64_with(width, i);
  assert_true(sb_trellis_block_bytes(&shape) <= sizeof codes);
  sb_trellis_block_decode(&shape, codes, scale, want, COLS);
  for (size_t r = 0; r < ROWS; r += SB_STRIP_ROWS)
    for (size_t c = 0; c < COLS; c += SB_STRIP_COLS) {
      const size_t cols = COLS - c < SB_STRIP_COLS ? COLS - c : SB_STRIP_COLS;
      const sb_strip strip = sb_strip_of(&t, codes, ROWS, r, c, cols);
      sb_strip_columns(k, columns, &t, &strip, scale);
      sb_strip_rows(k, rows + r * LD + c, LD, &t, &strip, scale);
      for (size_t i = 0; i < SB_STRIP_ROWS && r + i < ROWS; i++)
        for (size_t n = 0; n < cols; n++) {
          const float value = want[(r + i) * COLS + c + n];
          if (columns[n * SB_STRIP_ROWS + i] != value || rows[(r + i) * LD + c + n] != value)
            fail_msg("%s, kind %d, %u bits: (%zu, %zu) is %.9g and %.9g, expected %.9g", k->name,
                     (int)kind, width, r + i, c + n, (double)columns[n * SB_STRIP_ROWS + i],
                     (double)rows[(r + i) * LD + c + n], (double)value);
        }
    }
}

static void values(void **unused) {
  (void)unused;
  for (int level = 0; level < SB_CPU_LEVELS; level++)
    for (int kind = SB_TRELLIS_12; kind < SB_CODE_KINDS && kernels_at(level); kind++)
      for (unsigned width = 1; width <= 8; width++)
        check_values(kernels_at(level), (sb_code_kind)kind, width);
}

/* Sums of 4 * tiles products: at most as many roundings of floats as there are, and of the sums
 * that they are added to. */
static void check_row(const char *what, const sb_trellis_kernels *k, const sb_trellis *t,
                      double want, double size, float got) {
  if (!(fabs((double)got - want) <= 4 * 0x1p-23 * size))
    fail_msg("%s, %s, 2^%u states, %u bits: %.9g, expected %.9g", what, k->name, t->state_bits,
             t->width, (double)got, want);
}

static void check_products(const sb_trellis_kernels *k, const sb_trellis *t, const edge *e,
                           size_t tiles, uint64_t seed) {
  enum { TOKENS = 8 };
  static const float scale = 0.375f;
  static double w[SB_STRIP_LEVELS];
  static float columns[SB_STRIP_LEVELS], out[TOKENS][80], sums[2 * SB_STRIP_SUMS];
  static sb_strip_input in[2 * TOKENS];
  const size_t bytes = sb_trellis_tile_bytes(t), cols = 4 * tiles;
  const sb_strip strip = {edge_codes(e, (2 * tiles - 1) * bytes, seed % 2, seed), 2 * bytes, tiles,
                          64};
  float *x = check_random(TOKENS * cols, 2.0f, seed);
  naive_strip(w, t, &strip);
  sb_strip_columns(k, columns, t, &strip, scale);
  for (size_t n = 0; n < TOKENS; n++) {
    sb_strip_input_make(&in[2 * n], x + n * cols, cols);
    for (size_t r = 0; r < 64; r++) out[n][r] = 1.0f;
  }
  k->multiply(out[0], 80, columns, cols, x, cols, TOKENS - 1);
  for (size_t n = 0; n < TOKENS; n++) {
    const size_t tokens = n % 2 + 1; /* token n is the last of these */
    float row[64];
    for (size_t i = 0; i < tokens * SB_STRIP_SUMS; i++) sums[i] = i % SB_STRIP_SUMS < 64 ? 1.0f : 0;
    k->dot(sums, t, &strip, scale, &in[2 * (n + 1 - tokens)], 2, tokens);
    k->in_order(row, sums + (tokens - 1) * SB_STRIP_SUMS);
    for (size_t r = 0; r < 64; r++) {
      double want = 1.0, size = 1.0;
      for (size_t c = 0; c < cols; c++) {
        const double product = (double)scale * w[r * cols + c] * (double)x[n * cols + c];
        want += product;
        size += fabs(product);
      }
      check_row("dot", k, t, want, size, row[r]);
      if (n + 1 < TOKENS) check_row("multiply", k, t, want, size, out[n][r]);
    }
  }
}

static void products(void **unused) {
  (void)unused;
  edge e = edge_make();
  for (int level = 0; level < SB_CPU_LEVELS; level++)
    for (size_t i = 0; i < KINDS && kernels_at(level); i++)
      for (unsigned width = 1; width <= 8; width++)
        for (size_t tiles = 1; tiles <= SB_STRIP_TILES; tiles = 2 * tiles + (tiles == 1)) {
          const sb_trellis t = sb_trellis_of(kinds[i], width);
          check_products(kernels_at(level), &t, &e, tiles, width + tiles + i);
        }
  edge_free(&e);
}

/* Codes of a tile whose levels are all as high, or as low, as code after code can make them: with
 * many bits a weight, at the end of their range. */
static void fill_extreme(uint8_t *tile, const sb_trellis *t, int sign) {
  uint8_t code[SB_TRELLIS_TILE] = {0};
  for (unsigned round = 0; round < 2; round++) /* the second has the ring's end as it will be */
    for (unsigned s = SB_TRELLIS_TILE; s-- > 0;) {
      int most = INT_MIN;
      uint8_t best = 0;
      for (unsigned c = 0; c < 1u << t->width; c++) {
        code[s] = (uint8_t)c;
        const int level = sign * naive_level(t, sb_trellis_state_of_codes(t, code, s));
        if (level > most) most = level, best = (uint8_t)c;
      }
      code[s] = best;
    }
  sb_trellis_pack(t, tile, code);
}

/* The largest sums that integers have to hold: levels at one end, 128 columns, x whose low numbers,
 * or high ones, are the largest. */
static void extremes(void **unused) {
  (void)unused;
  static uint8_t codes[32 * 256];
  static float x[SB_STRIP_COLS], sums[SB_STRIP_SUMS];
  static sb_strip_input in;
  static double w[SB_STRIP_LEVELS];
  for (int level = 0; level < SB_CPU_LEVELS; level++)
    for (unsigned width = 1; width <= 8 && kernels_at(level); width++)
      for (int which = 0; which < 4; which++) {
        const sb_trellis t = sb_trellis_of(SB_TRELLIS_12, width);
        const sb_strip strip = {codes, sb_trellis_tile_bytes(&t), SB_STRIP_TILES, 64};
        for (size_t n = 0; n < SB_STRIP_TILES; n++)
          fill_extreme(codes + n * strip.stride, &t, which % 2 ? 1 : -1);
        naive_strip(w, &t, &strip);
        for (size_t c = 0; c < SB_STRIP_COLS; c++) /* 2^29, or 2^14 of its unit */
          x[c] = which < 2 || c == 0 ? 1.0f : 0x1.fffp-16f;
        sb_strip_input_make(&in, x, SB_STRIP_COLS);
        memset(sums, 0, sizeof sums);
        kernels_at(level)->dot(sums, &t, &strip, 1.0f, &in, 1, 1);
        float row[64];
        kernels_at(level)->in_order(row, sums);
        for (size_t r = 0; r < 64; r++) {
          double want = 0.0, size = 0.0;
          for (size_t c = 0; c < SB_STRIP_COLS; c++) {
            want += w[r * SB_STRIP_COLS + c] * (double)x[c];
            size += fabs(w[r * SB_STRIP_COLS + c] * (double)x[c]);
          }
          check_row("extreme", kernels_at(level), &t, want, size, row[r]);
        }
      }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(levels_of_all_states),
      cmocka_unit_test(inputs),
      cmocka_unit_test(values),
      cmocka_unit_test(products),
      cmocka_unit_test(extremes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
