/* Packed weights in plain C: the reference of the other kernels, and the kernels of processors
 * without AVX2. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/dtype.h"
#include "kernels/cpu/cpu_trellis_decode.h"
#include "kernels/shared/bitstring.h"

#define PV_LANES   16
#define PV_VECTORS 4

typedef struct pv {
  float at[PV_LANES];
} pv;
typedef struct pv_words {
  uint32_t at[PV_LANES];
} pv_words;

static inline pv pv_set(float x) {
  pv out;
  for (int i = 0; i < PV_LANES; i++) out.at[i] = x;
  return out;
}
static inline pv pv_load(const float *p) {
  pv out;
  memcpy(out.at, p, sizeof out.at);
  return out;
}
static inline void pv_store(float *p, pv a) {
  memcpy(p, a.at, sizeof a.at);
}
static inline pv pv_fma(pv a, pv b, pv c) {
  for (int i = 0; i < PV_LANES; i++) c.at[i] = fmaf(a.at[i], b.at[i], c.at[i]);
  return c;
}
static inline float pv_sum(pv a) {
  for (int half = PV_LANES / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) a.at[i] += a.at[i + half];
  return a.at[0];
}

static inline pv pv_halves(const uint16_t *p) {
  pv out;
  for (int i = 0; i < PV_LANES; i++) out.at[i] = sb_f16_to_f32(p[i]);
  return out;
}
static inline pv pv_bytes(const uint8_t *p) {
  pv out;
  for (int i = 0; i < PV_LANES; i++) out.at[i] = (float)p[i];
  return out;
}

static inline void pv_numbers(uint8_t *out, const uint8_t *string, size_t n, unsigned b) {
  sb_bitstring_unpack(out, string, n, b);
}

static inline void pv_chunks(const uint8_t *piece, unsigned b, unsigned h, pv_words *low,
                             pv_words *high) {
  (void)h; /* a vector has all chunks */
  const unsigned bytes = b < 4 ? b : 4;
  memset(low, 0, sizeof *low);
  for (unsigned l = 0; l < PV_LANES; l++) {
    memcpy(&low->at[l], piece + l * b, bytes);
    memcpy(&high->at[l], piece + l * b + (b - bytes), bytes);
  }
}
static inline pv pv_code(pv_words low, pv_words high, unsigned b, unsigned s) {
  pv out;
  for (int l = 0; l < PV_LANES; l++) {
    const uint32_t word = b <= 4 || s < 4 ? low.at[l] >> s * b : high.at[l] >> (32 - 8 * b + s * b);
    out.at[l] = (float)(word & ((1u << b) - 1u));
  }
  return out;
}

#define PV_FEW_TOGETHER(tokens) 1u
#define PV_TILE_ROWS(vectors)   4u
/* Every width in its own unrolled loops would take the compiler minutes here, where vectors are
 * arrays. */
#define PV_INLINE static inline
#define PV_UNROLL(n)
#include "kernels/cpu/cpu_packed_kernels.h"

const sb_packed_kernels sb_packed_plain = {"plain C", PV_LANES, PV_LANES *PV_VECTORS, few,
                                           decode,    multiply, &sb_trellis_plain};
