#include "policy/rates.h"

#include <fnmatch.h>
#include <math.h>
#include <string.h>

#include "io/json.h"
#include "policy/policy_file.h"

#define FORMAT "shardbits-rates"
enum { UNIT = 1 << 16 };

const char *const sb_rates_names[] = {"theory", "b300", "h200", NULL};
static const double tables[][SB_PRECISION_COUNT] = {
    {[SB_PRECISION_FP8_TENSOR] = 2,
     [SB_PRECISION_FP8_128] = 2,
     [SB_PRECISION_MXFP8] = 2,
     [SB_PRECISION_MXFP4] = 4,
     [SB_PRECISION_NVFP4] = 4,
     [SB_PRECISION_FP4_128] = 4},
    {[SB_PRECISION_MXFP8] = 1.44, [SB_PRECISION_NVFP4] = 2.03},
    {[SB_PRECISION_FP8_TENSOR] = 1.57, [SB_PRECISION_FP8_128] = 1.41},
};

/* Rates far from 1 are a slip of the pen, and would leave the range of times. */
static const double least_rate = 1.0 / 64, most_rate = 64;

static sb_status parse_rate(const char *path, const char *where, const char *name,
                            const json_t *value, sb_precision *precision, double *rate) {
  SB_TRY(sb_policy_parse_precision(path, where, name, precision));
  *rate = json_is_number(value) ? json_number_value(value) : 0;
  if (*rate >= least_rate && *rate <= most_rate && *precision != SB_PRECISION_HIGH) return SB_OK;
  return sb_fail(SB_ERR_FORMAT,
                 "%s: %s: the rate of %s must be a number from 1/64 to 64, a multiple of bf16's",
                 path, where, name);
}

static sb_status parse(const char *path, const json_t *object, sb_rates *out) {
  json_t *rates, *patterns = json_object_get(object, "linears"), *value, *inner;
  const char *name, *pattern;
  sb_precision precision;
  double rate;
  SB_TRY(sb_policy_check_format(path, object, FORMAT, "shardbits policy --help shows"));
  SB_TRY(sb_json_get_object(path, "", object, "rates", &rates));
  json_object_foreach(rates, name, value) {
    SB_TRY(parse_rate(path, "rates", name, value, &precision, &rate));
    out->rate[precision] = rate;
  }
  if (!patterns) return SB_OK;
  if (!json_is_object(patterns))
    return sb_fail(SB_ERR_FORMAT, "%s: \"linears\" is not an object", path);
  json_object_foreach(patterns, pattern, inner) {
    if (!json_is_object(inner))
      return sb_fail(SB_ERR_FORMAT, "%s: %s is not an object", path, pattern);
    json_object_foreach(inner, name, value)
        SB_TRY(parse_rate(path, pattern, name, value, &precision, &rate));
  }
  out->linears = json_incref(patterns);
  return SB_OK;
}

sb_status sb_rates_read(const char *name, sb_rates *out) {
  json_t *object = NULL;
  *out = (sb_rates){.name = name, .rate[SB_PRECISION_HIGH] = 1};
  for (int i = 0; sb_rates_names[i]; i++)
    if (strcmp(name, sb_rates_names[i]) == 0) {
      memcpy(out->rate, tables[i], sizeof out->rate);
      out->rate[SB_PRECISION_HIGH] = 1;
      return SB_OK;
    }
  SB_TRY(sb_json_read(name, &object));
  const sb_status status = parse(name, object, out);
  json_decref(object);
  if (status != SB_OK) sb_rates_free(out);
  return status;
}

void sb_rates_free(sb_rates *rates) {
  json_decref(rates->linears);
  rates->linears = NULL;
}

static double rate_of(const sb_rates *rates, const sb_linear *linear, sb_precision precision) {
  const char *pattern;
  json_t *inner;
  if (rates->linears) json_object_foreach(rates->linears, pattern, inner) {
      const json_t *value = json_object_get(inner, sb_precision_names[precision]);
      if (value && fnmatch(pattern, linear->name, 0) == 0) return json_number_value(value);
    }
  return rates->rate[precision];
}

sb_status sb_rates_time(const sb_rates *rates, const sb_linear *linear, sb_precision precision,
                        uint64_t *time) {
  const double rate = rate_of(rates, linear, precision);
  if (rate <= 0)
    return sb_fail(SB_ERR_RANGE, "%s: has no rate for %s; name another table, or a file",
                   rates->name, sb_precision_names[precision]);
  /* 2^56 multiply-adds, three GEMMs and the factor 2^22 do not fit: refused with the sum */
  if (__builtin_mul_overflow(sb_linear_work(linear), (uint64_t)llrint(UNIT / rate), time))
    return sb_fail(SB_ERR_RANGE, "%s: too large for a predicted time", linear->name);
  return SB_OK;
}
