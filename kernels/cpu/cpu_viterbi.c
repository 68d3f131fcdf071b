#include "kernels/cpu/cpu_viterbi.h"

#include <string.h>

#include "base/memory.h"
#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/cpu_viterbi_kernels.h"
#include "kernels/shared/viterbi.h"

enum { STEPS = SB_TRELLIS_TILE };

struct sb_viterbi {
  sb_trellis trellis;
  const sb_viterbi_kernels *kernels;
  size_t groups, codes; /* 2^(L - K), 2^K */
  size_t row;           /* numbers of a row of walks */
  int16_t *levels;      /* [2^L], in the order of cpu_viterbi_kernels.h */
  uint16_t *walks;      /* [1 + STEPS, row]: M before each step of a pass, and after the last */
};

/* A tile as a walk sees it, in the order of its steps. */
typedef struct steps {
  int16_t target[STEPS];
  bool absent[STEPS];
} steps;

const sb_viterbi_kernels *sb_viterbi_kernels_best(void) {
  static const sb_viterbi_kernels *const all[SB_CPU_LEVELS] = {&sb_viterbi_plain, &sb_viterbi_avx2,
                                                               &sb_viterbi_avx512};
  return all[sb_cpu_best()];
}

static sb_status reserve(sb_viterbi *v) {
  SB_TRY(sb_alloc_raw(&v->levels, v->codes * v->row, sizeof *v->levels, "levels of a trellis"));
  return sb_alloc_raw(&v->walks, (1 + STEPS) * v->row, sizeof *v->walks, "costs of walks");
}

/* The level of state g 2^K + o. */
static int16_t *level_at(const sb_viterbi *v, size_t g, size_t o) {
  return v->levels + (g / SB_VITERBI_LANES * v->codes + o) * SB_VITERBI_LANES +
         g % SB_VITERBI_LANES;
}

sb_status sb_viterbi_create_with(const sb_trellis *trellis, const sb_viterbi_kernels *kernels,
                                 sb_viterbi **out) {
  sb_viterbi *v = NULL;
  *out = NULL;
  SB_TRY(sb_alloc(&v, 1, sizeof *v, "an encoder of trellis codes"));
  v->trellis = *trellis;
  v->kernels = kernels;
  v->codes = (size_t)1 << trellis->width;
  v->groups = (size_t)1 << (trellis->state_bits - trellis->width);
  v->row = sb_max_size(v->groups, SB_VITERBI_LANES);
  const sb_status status = reserve(v);
  if (status != SB_OK) {
    sb_viterbi_destroy(&v);
    return status;
  }
  for (size_t g = 0; g < v->row; g++)
    for (size_t o = 0; o < v->codes; o++)
      *level_at(v, g, o) =
          sb_viterbi_level(trellis, (uint32_t)((g & (v->groups - 1)) << trellis->width | o));
  *out = v;
  return SB_OK;
}

sb_status sb_viterbi_create(const sb_trellis *trellis, sb_viterbi **out) {
  return sb_viterbi_create_with(trellis, sb_viterbi_kernels_best(), out);
}

void sb_viterbi_destroy(sb_viterbi **viterbi) {
  if (!*viterbi) return;
  sb_free(&(*viterbi)->levels);
  sb_free(&(*viterbi)->walks);
  sb_free(viterbi);
}

/* ---- a pass ---- */

/* Where M(g) is in a row of walks, and that from which a walk gets to group g by code o. */
static size_t place_of(const sb_viterbi *v, size_t g) {
  return sb_viterbi_place(v->groups, v->trellis.width, g);
}
static size_t before(const sb_viterbi *v, size_t g, size_t o) {
  return (g << v->trellis.width | o) & (v->groups - 1);
}

static void normalise(uint16_t *walks, size_t groups) {
  unsigned least = SB_VITERBI_WORST;
  for (size_t g = 0; g < groups; g++) least = walks[g] < least ? walks[g] : least;
  for (size_t g = 0; g < groups; g++) walks[g] = (uint16_t)sb_viterbi_less(walks[g], least);
}

/* Takes walks around the ring, from step `first` on. Before step i of the pass, M is row i of the
 * walks. */
static void go_around(sb_viterbi *v, const steps *at, unsigned first) {
  sb_viterbi_step step = {.levels = v->levels,
                          .groups = v->groups,
                          .width = v->trellis.width,
                          .shift = sb_viterbi_shift(&v->trellis)};
  for (unsigned i = 0; i < STEPS; i++) {
    uint16_t *walks = v->walks + i * v->row;
    const unsigned n = (first + i) % STEPS;
    if (i > 0 && i % SB_VITERBI_NORMALISE == 0) normalise(walks, v->groups);
    step.now = walks;
    step.next = walks + v->row;
    step.target = at->target[n];
    if (!at->absent[n])
      v->kernels->step(&step);
    else
      for (size_t g = 0; g < v->groups; g++)
        step.next[place_of(v, g)] = walks[place_of(v, before(v, g, 0))];
  }
}

/* The lowest code by which a best walk got to group g in step n. */
static size_t best_code(const sb_viterbi *v, const uint16_t *walks, const steps *at, unsigned n,
                        size_t g) {
  size_t best = 0;
  unsigned least = UINT32_MAX;
  if (at->absent[n]) return 0;
  for (size_t o = 0; o < v->codes; o++) {
    const unsigned cost = sb_viterbi_add(
        walks[place_of(v, before(v, g, o))],
        sb_viterbi_cost(at->target[n], *level_at(v, g, o), sb_viterbi_shift(&v->trellis)));
    if (cost < least) {
      least = cost;
      best = o;
    }
  }
  return best;
}

/* Follows the best walk back from group g after the last step of a pass to before its step `end`,
 * whose group it returns. code [STEPS], in the order of the ring, gets its codes; or NULL. */
static size_t go_back(const sb_viterbi *v, const steps *at, unsigned first, size_t g, unsigned end,
                      uint8_t *code) {
  for (unsigned i = STEPS; i-- > end;) {
    const unsigned n = (first + i) % STEPS;
    const size_t o = best_code(v, v->walks + i * v->row, at, n, g);
    if (code) code[n] = (uint8_t)o;
    g = before(v, g, o);
  }
  return g;
}

/* The group in which the best walk of the first pass crosses the border before step 0. */
static size_t border(sb_viterbi *v, const steps *at) {
  const uint16_t *last = v->walks + STEPS * v->row;
  size_t best = 0;
  memset(v->walks, 0, v->row * sizeof *v->walks);
  go_around(v, at, SB_VITERBI_START);
  for (size_t g = 1; g < v->groups; g++)
    best = last[place_of(v, g)] < last[place_of(v, best)] ? g : best;
  return go_back(v, at, SB_VITERBI_START, best, STEPS - SB_VITERBI_START, NULL);
}

void sb_viterbi_tile(sb_viterbi *v, float scale, const float *target, const bool *absent,
                     uint8_t *code, float *value) {
  const sb_trellis *t = &v->trellis;
  const float by = sb_viterbi_by(t, scale), offset = sb_viterbi_offset(t),
              most = sb_viterbi_most(t);
  steps at;
  uint8_t in_order[STEPS];
  for (unsigned s = 0; s < STEPS; s++) {
    const unsigned n = t->exl3 ? STEPS - 1 - s : s;
    at.target[n] = sb_viterbi_target(target[s], by, offset, most);
    at.absent[n] = absent && absent[s];
  }
  const size_t g = border(v, &at);
  memset(v->walks, 0xff, v->row * sizeof *v->walks);
  v->walks[place_of(v, g)] = 0;
  go_around(v, &at, 0);
  go_back(v, &at, 0, g, 0, in_order);
  for (unsigned s = 0; s < STEPS; s++) code[s] = in_order[t->exl3 ? STEPS - 1 - s : s];
  if (!value) return;
  for (unsigned s = 0; s < STEPS; s++)
    value[s] =
        scale * sb_trellis_number(t, sb_trellis_level(t, sb_trellis_state_of_codes(t, code, s)));
}

/* ---- panels ---- */

/* Codes the tile whose first rows x cols weights are at s; the rest of it is absent. */
static void code_tile(sb_viterbi *v, float scale, size_t rows, size_t cols, const float *s,
                      size_t s_ld, uint8_t *codes, size_t codes_ld, float *values,
                      size_t values_ld) {
  float target[STEPS], value[STEPS];
  uint8_t code[STEPS];
  bool absent[STEPS];
  unsigned r, c;
  for (unsigned i = 0; i < STEPS; i++) {
    sb_trellis_place(&v->trellis, i, &r, &c);
    absent[i] = r >= rows || c >= cols;
    target[i] = absent[i] ? 0.0f : s[r * s_ld + c];
  }
  sb_viterbi_tile(v, scale, target, absent, code, values ? value : NULL);
  for (unsigned i = 0; i < STEPS; i++) {
    if (absent[i]) continue;
    sb_trellis_place(&v->trellis, i, &r, &c);
    codes[r * codes_ld + c] = code[i];
    if (values) values[r * values_ld + c] = value[i];
  }
}

void sb_viterbi_panel(sb_viterbi *v, float scale, size_t rows, size_t cols, const float *s,
                      size_t s_ld, uint8_t *codes, size_t codes_ld, float *values,
                      size_t values_ld) {
  const sb_trellis *t = &v->trellis;
  for (size_t col = 0; col < cols; col += t->tile_cols)
    for (size_t row = 0; row < rows; row += t->tile_rows)
      code_tile(v, scale, sb_min_size(t->tile_rows, rows - row),
                sb_min_size(t->tile_cols, cols - col), s + row * s_ld + col, s_ld,
                codes + row * codes_ld + col, codes_ld,
                values ? values + row * values_ld + col : NULL, values_ld);
}
