/* Reads values of a config.json. Messages name file, key and accepted values. Local. A key that is
 * null counts as missing, as in Hugging Face's own reader. */
#ifndef SB_MODEL_CONFIG_SOURCE_H
#define SB_MODEL_CONFIG_SOURCE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/status.h"

/* An object, and where it comes from for messages: "models/x/config.json: rope_scaling.factor". */
typedef struct sb_config_source {
  const json_t *object;
  const char *path;
  const char *prefix; /* "" or "rope_scaling." */
} sb_config_source;

/* The value of a key; NULL where it is missing or null. */
const json_t *sb_config_value(const sb_config_source *source, const char *key);
/* "an object", "a string", ... */
const char *sb_config_type_name(const json_t *value);

/* *out is the key's value, or stays as it is where the key is missing. SB_ERR_FORMAT: another type,
 * outside the range, or missing where `required`. */
sb_status sb_config_count(const sb_config_source *source, const char *key, bool required,
                          const sb_limit *limit, size_t *out);
sb_status sb_config_real(const sb_config_source *source, const char *key, bool required, double low,
                         double high, double *out);
sb_status sb_config_flag(const sb_config_source *source, const char *key, bool *out);
/* *out points into the object. */
sb_status sb_config_text(const sb_config_source *source, const char *key, const char **out);
/* Whether an object gives a key twice, NaN or another value that JSON of others does not hold is
 * seen here: such a value has none of the types above. "NaN", ... are its type's name.
 *
 * For families: refuses a hidden_act other than SiLU, the default (SB_ERR_UNSUPPORTED). */
sb_status sb_config_require_silu(const sb_config_source *source);

#endif
