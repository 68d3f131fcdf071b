#include "train/run_state.h"

#include <math.h>

#include "io/json.h"

static const char *const where = "state of training";

static json_t *window_json(const sb_skip_window *window) {
  json_t *values = json_array();
  for (size_t i = 0; i < SB_SKIP_WINDOW; i++)
    json_array_append_new(values, json_real(window->values[i]));
  return json_pack("{s:I, s:o}", "count", (json_int_t)window->count, "values", values);
}

json_t *sb_run_state_json(const sb_run_state *s) {
  json_t *object =
      json_pack("{s:I, s:I, s:f, s:o, s:o}", "step", (json_int_t)s->progress.step, "updates",
                (json_int_t)s->progress.updates, "seconds", s->seconds, "losses",
                window_json(&s->progress.losses), "norms", window_json(&s->progress.norms));
  if (isfinite(s->loss)) json_object_set_new(object, "loss", json_real(s->loss));
  if (s->extra) json_object_set(object, "extra", s->extra);
  return object;
}

static sb_status parse_window(const json_t *root, const char *key, sb_skip_window *out) {
  json_t *object, *values;
  SB_TRY(sb_json_get_object(where, "", root, key, &object));
  SB_TRY(sb_json_get_u64(where, key, object, "count", INT64_MAX, &out->count));
  SB_TRY(sb_json_get_array(where, key, object, "values", &values));
  if (json_array_size(values) != SB_SKIP_WINDOW)
    return sb_fail(SB_ERR_FORMAT, "%s: %s: has %zu values, not %d", where, key,
                   json_array_size(values), SB_SKIP_WINDOW);
  for (size_t i = 0; i < SB_SKIP_WINDOW; i++) {
    const json_t *value = json_array_get(values, i);
    if (!json_is_number(value))
      return sb_fail(SB_ERR_FORMAT, "%s: %s: value %zu is no number", where, key, i);
    out->values[i] = json_number_value(value);
  }
  return SB_OK;
}

sb_status sb_run_state_parse(const json_t *object, sb_run_state *out) {
  sb_trainer_progress *p = &out->progress;
  *out = (sb_run_state){0};
  SB_TRY(sb_json_get_u64(where, "", object, "step", INT32_MAX, &p->step));
  SB_TRY(sb_json_get_u64(where, "", object, "updates", p->step, &p->updates));
  SB_TRY(sb_json_get_real(where, "", object, "seconds", &out->seconds));
  out->loss = NAN;
  if (json_object_get(object, "loss"))
    SB_TRY(sb_json_get_real(where, "", object, "loss", &out->loss));
  SB_TRY(parse_window(object, "losses", &p->losses));
  SB_TRY(parse_window(object, "norms", &p->norms));
  out->extra = json_incref(json_object_get(object, "extra"));
  return SB_OK;
}
