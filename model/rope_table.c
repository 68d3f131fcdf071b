#include "model/rope_table.h"

#include <math.h>
#include <stdbool.h>

/* Llama 3's change of one inverse frequency: wavelengths beyond the old context are
 * stretched by `factor`, short ones left alone, those between blended. Float32 throughout,
 * as in Hugging Face's _compute_llama3_parameters. */
static float llama3_frequency(const sb_config *c, float frequency) {
  float context = (float)c->rope_original_positions, factor = (float)c->rope_factor;
  float low = (float)c->rope_low_factor, high = (float)c->rope_high_factor;
  float longest = (float)(c->rope_original_positions / c->rope_low_factor);
  float shortest = (float)(c->rope_original_positions / c->rope_high_factor);
  float wavelength = (float)(2.0 * 3.141592653589793) / frequency;
  if (wavelength > longest) return frequency / factor;
  if (wavelength < shortest) return frequency;
  float blend = (context / wavelength - low) / (high - low);
  return (1.0f - blend) * frequency / factor + blend * frequency;
}

/* YaRN's range of channels: those before it keep their frequency, those behind it are stretched. */
static void yarn_range(const sb_config *c, double *low, double *high) {
  const double dim = (double)c->head_dim, pi = 3.141592653589793;
  const double rotations[2] = {c->rope_beta_fast, c->rope_beta_slow};
  double at[2];
  for (int i = 0; i < 2; i++)
    at[i] = dim * log(c->rope_original_positions / (rotations[i] * 2.0 * pi)) /
            (2.0 * log(c->rope_theta));
  if (c->rope_truncate) {
    at[0] = floor(at[0]);
    at[1] = ceil(at[1]);
  }
  *low = fmax(at[0], 0.0);
  *high = fmin(at[1], dim - 1.0);
  if (*low == *high) *high += 0.001;
}

/* Float32 in the order of _compute_yarn_parameters; `power` is theta^(2 i / head_dim). */
static float yarn_frequency(const sb_config *c, float power, size_t i) {
  double low, high;
  yarn_range(c, &low, &high);
  float ramp = ((float)i - (float)low) / (float)(high - low);
  ramp = ramp < 0.0f ? 0.0f : ramp > 1.0f ? 1.0f : ramp;
  const float keep = 1.0f - ramp, stretched = 1.0f / ((float)c->rope_factor * power);
  return stretched * (1.0f - keep) + 1.0f / power * keep;
}

void sb_rope_table(const sb_config *config, size_t T, float *cos_sin) {
  const size_t half = config->head_dim / 2;
  const bool yarn = config->rope_kind == SB_ROPE_YARN;
  const float scale = yarn ? (float)config->rope_attention : 1.0f;
  for (size_t i = 0; i < half; i++) {
    const float power = powf((float)config->rope_theta, (float)(2 * i) / (float)config->head_dim);
    float frequency = 1.0f / power;
    if (config->rope_kind == SB_ROPE_LINEAR) frequency /= (float)config->rope_factor;
    if (config->rope_kind == SB_ROPE_LLAMA3) frequency = llama3_frequency(config, frequency);
    if (yarn) frequency = yarn_frequency(config, power, i);
    for (size_t t = 0; t < T; t++) {
      float angle = (float)t * frequency;
      cos_sin[(t * half + i) * 2] = (float)cos((double)angle) * scale;
      cos_sin[(t * half + i) * 2 + 1] = (float)sin((double)angle) * scale;
    }
  }
}
