#include "model/rope_table.h"

#include <math.h>

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

void sb_rope_table(const sb_config *config, size_t T, float *cos_sin) {
  size_t half = config->head_dim / 2;
  for (size_t i = 0; i < half; i++) {
    float frequency =
        1.0f / powf((float)config->rope_theta, (float)(2 * i) / (float)config->head_dim);
    if (config->rope_kind == SB_ROPE_LINEAR) frequency /= (float)config->rope_factor;
    if (config->rope_kind == SB_ROPE_LLAMA3) frequency = llama3_frequency(config, frequency);
    for (size_t t = 0; t < T; t++) {
      float angle = (float)t * frequency;
      cos_sin[(t * half + i) * 2] = (float)cos((double)angle);
      cos_sin[(t * half + i) * 2 + 1] = (float)sin((double)angle);
    }
  }
}
