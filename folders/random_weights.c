#include "folders/random_weights.h"

#include <math.h>

#include "base/memory.h"
#include "base/random.h"
#include "folders/random_numbers.h"

enum { CHANNELS_AN_OUTLIER = 512, PART_BITS = 14 };
#define PART_MASK ((1u << PART_BITS) - 1)

/* Standard deviation of `bell`: four uniform numbers of 14 bits, and the
 * stretches with their shares. */
#define BELL_SIGMA 10439.1

/* Whole numbers times a factor of few bits: exact, so the same on every machine. */
static inline float bell(uint64_t bits) {
  const int32_t sum =
      (int32_t)((bits & PART_MASK) + ((bits >> PART_BITS) & PART_MASK) +
                ((bits >> (2 * PART_BITS)) & PART_MASK) + ((bits >> (3 * PART_BITS)) & PART_MASK)) -
      2 * (int32_t)PART_MASK;
  const uint32_t tail = (uint32_t)(bits >> (4 * PART_BITS)); /* 0 .. 255 */
  const float stretch = tail < 232 ? 1.0f : tail < 252 ? 1.5f : tail < 255 ? 2.5f : 4.0f;
  return (float)sum * stretch;
}

static float unit(uint64_t bits) { /* [0, 1) in steps of 2^-24 */
  return (float)(bits >> 40) * 0x1p-24f;
}

/* factors[channel] *= `times` the size of every outlier of the residual stream, or *= `share` where
 * that is not 0. */
static void mark_outliers(float *factors, size_t hidden, uint64_t seed, float share) {
  const uint64_t key = sb_random_key(seed, "residual stream");
  const size_t count = sb_max_size(hidden / CHANNELS_AN_OUTLIER, 1);
  for (size_t k = 0; k < count; k++)
    factors[sb_random_number(key, 2 * k) % hidden] *=
        share > 0 ? share : fmaf(4.0f, unit(sb_random_number(key, 2 * k + 1)), 4.0f);
}

static double sigma_of(sb_role role) {
  switch (role) {
  case SB_ROLE_V:
  case SB_ROLE_O:
    return 0.6;
  case SB_ROLE_UP:
  case SB_ROLE_DOWN:
    return 0.8;
  case SB_ROLE_GATE:
    return 0.9;
  default:
    return 1.0;
  }
}

sb_status sb_random_tensor_create(const sb_arch *arch, size_t tensor, uint64_t seed,
                                  sb_random_tensor *out) {
  const sb_model_tensor *t = &arch->tensors[tensor];
  const uint64_t key = sb_random_key(seed, t->name), rows = sb_mix64(key ^ 1),
                 cols = sb_mix64(key ^ 2);
  *out = (sb_random_tensor){.key = sb_mix64(key), .cols = t->cols, .is_norm = t->dims == 1};
  sb_status status = sb_alloc_raw(&out->col, t->cols, sizeof(float), "factors of columns");
  SB_THEN(sb_alloc_raw(&out->row, t->rows, sizeof(float), "factors of rows"));
  if (status != SB_OK) {
    sb_random_tensor_free(out);
    return status;
  }
  if (out->is_norm) {
    out->sigma = (float)(0.1 / BELL_SIGMA);
    out->row[0] = 1.0f;
    for (size_t c = 0; c < t->cols; c++) out->col[c] = 1.0f;
    mark_outliers(out->col, t->cols, seed, t->role == SB_ROLE_FINAL_NORM ? 0x1p-4f : 0.5f);
    return SB_OK;
  }
  const double layer = 0.85 + 0.3 * (double)unit(sb_mix64(key ^ 3));
  out->sigma = (float)((t->is_linear ? layer : 1.0) * sigma_of(t->role) / sqrt((double)t->cols) /
                       BELL_SIGMA);
  for (size_t r = 0; r < t->rows; r++)
    out->row[r] = fmaf(0.4f, unit(sb_random_number(rows, r)), 0.8f);
  for (size_t c = 0; c < t->cols; c++)
    out->col[c] = fmaf(0.4f, unit(sb_random_number(cols, c)), 0.8f);
  if (t->role == SB_ROLE_O || t->role == SB_ROLE_DOWN) mark_outliers(out->row, t->rows, seed, 0);
  if (t->role == SB_ROLE_EMBED) mark_outliers(out->col, t->cols, seed, 0);
  return SB_OK;
}

void sb_random_tensor_free(sb_random_tensor *t) {
  sb_free(&t->col);
  sb_free(&t->row);
}

void sb_random_tensor_fill(const sb_random_tensor *t, uint64_t first, size_t count, float *out) {
  for (size_t done = 0, run; done < count; done += run) {
    const uint64_t at = first + done, row = at / t->cols;
    const size_t col = (size_t)(at % t->cols);
    const float *factors = t->col + col;
    float *to = out + done;
    run = sb_min_size(count - done, t->cols - col);
    if (t->is_norm) {
      for (size_t k = 0; k < run; k++)
        to[k] = fmaf(bell(sb_random_number(t->key, at + k)), t->sigma, 1.0f) * factors[k];
    } else {
      const float scale = t->sigma * t->row[row];
      for (size_t k = 0; k < run; k++)
        to[k] = bell(sb_random_number(t->key, at + k)) * (scale * factors[k]);
    }
  }
}

void sb_random_tokens(uint64_t seed, size_t vocab, uint64_t first, size_t count, uint32_t *out) {
  const uint64_t key = sb_random_key(seed, "tokens");
  unsigned octaves = 0;
  while (octaves < 32 && ((uint64_t)1 << octaves) < vocab) octaves++;
  for (size_t k = 0; k < count; k++) {
    const uint64_t bits = sb_random_number(key, first + k);
    const uint64_t below = (uint64_t)1 << (1 + (bits >> 32) % sb_max_size(octaves, 1));
    out[k] = (uint32_t)((bits & UINT32_MAX) % (below < vocab ? below : vocab));
  }
}
