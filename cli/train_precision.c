#include "cli/train_precision.h"

#include <stdio.h>
#include <xxhash.h>

#include "base/memory.h"
#include "policy/policy_file.h"

static sb_status apply_policy(const char *path, const sb_arch *arch, sb_precision_map *map) {
  sb_policy policy = {0};
  sb_linears model = {0};
  SB_TRY(sb_linears_of(arch, &model));
  sb_status status = sb_policy_read(path, &policy);
  SB_THEN(sb_linears_check(path, &policy.model, &model));
  for (size_t i = 0; status == SB_OK && i < map->count; i++)
    for (int gemm = 0; gemm < SB_GEMM_KINDS; gemm++)
      map->gemms[i][gemm] = policy.choices[i].gemm[gemm];
  sb_policy_free(&policy);
  sb_linears_free(&model);
  return status;
}

static sb_status keep_high(const sb_train_request *r, const sb_arch *arch, sb_precision_map *map) {
  const size_t layers = arch->config.layers;
  const bool low = r->adapt.every || sb_precision_map_is_low(map);
  if (low && r->keep_first + r->keep_last == layers)
    return sb_fail(SB_ERR_RANGE,
                   "train: --keep-first %zu and --keep-last %zu leave none of the %zu layers for "
                   "low precision",
                   r->keep_first, r->keep_last, layers);
  if (r->keep_first + r->keep_last > layers)
    return sb_fail(
        SB_ERR_RANGE,
        "train: --keep-first %zu and --keep-last %zu are more layers than the %zu of the "
        "model",
        r->keep_first, r->keep_last, layers);
  sb_precision_map_set_layers(map, arch, 0, r->keep_first, SB_PRECISION_HIGH);
  sb_precision_map_set_layers(map, arch, layers - r->keep_last, layers, SB_PRECISION_HIGH);
  return SB_OK;
}

void sb_train_precisions_settle(const sb_arch *arch, sb_train_precisions *p) {
  const sb_precision first = p->map.count ? p->map.gemms[0][0] : SB_PRECISION_HIGH;
  bool uniform = true;
  uint64_t hash = 0;
  for (size_t i = 0; i < p->map.count; i++)
    for (int gemm = 0; gemm < SB_GEMM_KINDS; gemm++) {
      const uint32_t precision = (uint32_t)p->map.gemms[i][gemm];
      uniform = uniform && p->map.gemms[i][gemm] == first;
      hash = XXH64(&precision, sizeof precision, hash);
    }
  p->low = sb_precision_map_is_low(&p->map);
  p->shares = (sb_flop_shares){sb_precision_map_share(&p->map, arch, 4),
                               sb_precision_map_share(&p->map, arch, 8)};
  if (!p->low)
    snprintf(p->name, sizeof p->name, "high");
  else if (uniform)
    snprintf(p->name, sizeof p->name, "%s", sb_precision_names[first]);
  else
    snprintf(p->name, sizeof p->name, "policy %016llx", (unsigned long long)hash);
}

/* Of the map, and of what it may become. */
static unsigned formats_of(const sb_train_request *r, const sb_precision_map *map) {
  unsigned formats = 0;
  for (size_t i = 0; i < map->count; i++)
    for (int gemm = 0; gemm < SB_GEMM_KINDS; gemm++) formats |= 1u << map->gemms[i][gemm];
  for (size_t i = 0; r->adapt.every && i < r->adapt.precisions.count; i++)
    formats |= 1u << r->adapt.precisions.of[i];
  return formats;
}

sb_status sb_train_precisions_make(const sb_train_request *r, const sb_arch *arch,
                                   sb_train_precisions *out) {
  const sb_precision uniform = r->precision <= SB_TRAIN_BF16
                                   ? SB_PRECISION_HIGH
                                   : (sb_precision)(r->precision - SB_TRAIN_BF16);
  *out = (sb_train_precisions){0};
  sb_status status = sb_precision_map_create(arch, uniform, &out->map);
  if (r->policy) SB_THEN(apply_policy(r->policy, arch, &out->map));
  SB_THEN(keep_high(r, arch, &out->map));
  SB_THEN(sb_rounding_check(&r->rounding, "train", formats_of(r, &out->map)));
  SB_THEN(sb_precision_map_check(&out->map, arch, r->policy ? r->policy : "train: --precision"));
  if (status != SB_OK) return status;
  sb_train_precisions_settle(arch, out);
  if (out->low && !r->policy && (r->keep_first || r->keep_last))
    snprintf(out->name, sizeof out->name, "%s, first %zu and last %zu layers high",
             sb_precision_names[uniform], r->keep_first, r->keep_last);
  return SB_OK;
}
