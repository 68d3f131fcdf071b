#include "model/precision_map.h"

#include <string.h>

#include "base/memory.h"

sb_status sb_precision_map_create(const sb_arch *arch, sb_precision uniform,
                                  sb_precision_map *out) {
  *out = (sb_precision_map){.count = arch->matrix_count};
  SB_TRY(sb_alloc(&out->gemms, out->count, sizeof *out->gemms, "precisions"));
  sb_precision_map_set_layers(out, arch, 0, arch->config.layers, uniform);
  return SB_OK;
}

void sb_precision_map_free(sb_precision_map *map) {
  sb_free(&map->gemms);
  map->count = 0;
}

void sb_precision_map_copy(sb_precision_map *to, const sb_precision_map *from) {
  memcpy(to->gemms, from->gemms, from->count * sizeof *from->gemms);
}

void sb_precision_map_set_layers(sb_precision_map *map, const sb_arch *arch, size_t first,
                                 size_t end, sb_precision precision) {
  for (size_t i = arch->layers[first].first_matrix; i < arch->layers[end].first_matrix; i++)
    for (int g = 0; g < SB_GEMM_KINDS; g++) map->gemms[i][g] = precision;
}

bool sb_precision_map_is_low(const sb_precision_map *map) {
  for (size_t i = 0; i < map->count; i++)
    for (int g = 0; g < SB_GEMM_KINDS; g++)
      if (map->gemms[i][g] != SB_PRECISION_HIGH) return true;
  return false;
}

size_t sb_precision_multiple(sb_precision precision) {
  switch (precision) {
  case SB_PRECISION_MXFP8:
  case SB_PRECISION_MXFP4:
    return 32;
  case SB_PRECISION_FP8_TENSOR:
  case SB_PRECISION_FP8_128:
  case SB_PRECISION_NVFP4:
    return 16;
  default:
    return 1;
  }
}

sb_status sb_precision_map_check(const sb_precision_map *map, const sb_arch *arch,
                                 const char *what) {
  for (size_t i = 0; i < map->count; i++)
    for (int g = 0; g < SB_GEMM_KINDS; g++) {
      const sb_model_tensor *t = &arch->tensors[arch->matrices[i]];
      const sb_precision p = map->gemms[i][g];
      const size_t multiple = sb_precision_multiple(p);
      if (t->rows % multiple == 0 && t->cols % multiple == 0) continue;
      return sb_fail(SB_ERR_UNSUPPORTED,
                     "%s: layer %zu: %s [%zu, %zu] cannot have %s in %s: rows and columns must be "
                     "multiples of %zu; give it another precision",
                     what, t->layer, t->name, t->rows, t->cols, sb_precision_names[p],
                     sb_gemm_kind_names[g], multiple);
    }
  return SB_OK;
}

double sb_precision_map_share(const sb_precision_map *map, const sb_arch *arch, unsigned bits) {
  double all = 0, low = 0;
  for (size_t i = 0; i < map->count; i++) {
    const sb_model_tensor *t = &arch->tensors[arch->matrices[i]];
    for (int g = 0; g < SB_GEMM_KINDS; g++) {
      const double flops = (double)t->rows * (double)t->cols;
      all += flops;
      if (sb_precision_bits(map->gemms[i][g]) == bits) low += flops;
    }
  }
  return all > 0 ? low / all : 0;
}
