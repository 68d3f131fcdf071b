#include "report/runs.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "io/file.h"
#include "io/json.h"

static const size_t most_bytes = (size_t)1 << 30;
static const char *const commands[SB_RUN_KINDS] = {
    [SB_RUN_QUANTIZE] = "quantize", [SB_RUN_EVAL] = "eval", [SB_RUN_REORDER] = "reorder",
    [SB_RUN_TRAIN] = "train",       [SB_RUN_EVENTS] = "",   [SB_RUN_PROFILE] = "profile"};

double sb_run_real(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  return json_is_number(value) ? json_number_value(value) : NAN;
}

const char *sb_run_text(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text ? text : "";
}

bool sb_runs_have(const sb_runs *runs, sb_run_kind kind) {
  for (size_t i = 0; i < runs->count; i++)
    if (runs->run[i].kind == kind) return true;
  return false;
}

const char *sb_runs_measure(const sb_runs *runs) {
  const char *measure = NULL;
  for (size_t i = 0; i < runs->count; i++) {
    const sb_run *run = &runs->run[i];
    if (!run->eval) continue;
    if (isfinite(sb_run_real(run->eval, "mean_kl"))) return "mean_kl";
    measure = "perplexity";
  }
  return measure;
}

/* ---- one file ---- */

/* Lines of JSON, an object each: what --events wrote. A last line that was cut off is left out. */
static bool read_events(const char *text, size_t bytes, json_t **out) {
  json_t *list = json_array();
  bool good = true;
  for (const char *line = text, *end;
       good && (end = memchr(line, '\n', bytes - (size_t)(line - text))); line = end + 1) {
    json_t *event = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES, NULL);
    good = json_is_string(json_object_get(event, "event"));
    if (good) json_array_append(list, event);
    json_decref(event);
  }
  good = good && json_array_size(list) > 0;
  if (good)
    *out = list;
  else
    json_decref(list);
  return good;
}

static sb_status find_kind(sb_run *run) {
  const char *command = sb_run_text(run->json, "command");
  if (strcmp(sb_run_text(run->json, "format"), "shardbits-profile") == 0) {
    run->kind = SB_RUN_PROFILE;
    return SB_OK;
  }
  if (strcmp(sb_run_text(run->json, "program"), "shardbits") != 0)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: no result of shardbits; give what --json of quantize, eval, reorder, train "
                   "or profile wrote, or --events of train",
                   run->path);
  for (int kind = 0; kind < SB_RUN_KINDS; kind++) {
    run->kind = (sb_run_kind)kind;
    if (strcmp(command, commands[kind]) == 0) return SB_OK;
  }
  return sb_fail(
      SB_ERR_FORMAT,
      "%s: is of shardbits %s; a report shows quantize, eval, reorder, train and profile",
      run->path, command);
}

/* What a kind of run cannot be shown without. */
static sb_status check_contents(const sb_run *run) {
  double value;
  const char *text;
  json_t *list;
  switch (run->kind) {
  case SB_RUN_QUANTIZE:
    SB_TRY(sb_json_get_string(run->path, "", run->json, "method", &text));
    SB_TRY(sb_json_get_string(run->path, "", run->json, "model", &text));
    return sb_json_get_real(run->path, "", run->json, "effective_bits", &value);
  case SB_RUN_EVAL:
    SB_TRY(sb_json_get_string(run->path, "", run->json, "model", &text));
    return sb_json_get_real(run->path, "", run->json, "perplexity", &value);
  case SB_RUN_PROFILE:
    return sb_json_get_array(run->path, "", run->json, "linears", &list);
  default:
    return SB_OK;
  }
}

static sb_status read_one(sb_run *run) {
  char *text;
  size_t bytes;
  SB_TRY(sb_file_read_all(run->path, most_bytes, &text, &bytes));
  run->kind = SB_RUN_EVENTS;
  sb_status status = SB_OK;
  if (read_events(text, bytes, &run->json)) {
    const char *command = sb_run_text(json_array_get(run->json, 0), "command");
    if (command[0] != 0 && strcmp(command, commands[SB_RUN_TRAIN]) != 0)
      status = sb_fail(SB_ERR_FORMAT,
                       "%s: is --events of shardbits %s, and a report shows those of train; give "
                       "what --json wrote",
                       run->path, command);
  } else {
    status = sb_json_parse(run->path, text, bytes, &run->json);
    SB_THEN(find_kind(run));
    SB_THEN(check_contents(run));
  }
  sb_free(&text);
  return status;
}

/* ---- all of them ---- */

/* Kinds that one page shows together. */
static int family(sb_run_kind kind) {
  return kind == SB_RUN_PROFILE ? 2 : kind == SB_RUN_TRAIN || kind == SB_RUN_EVENTS ? 1 : 0;
}

static sb_status check_family(const sb_run *first, const sb_run *run) {
  static const char *const names[] = {"quantizing", "training", "a profile"};
  if (family(first->kind) == family(run->kind)) return SB_OK;
  return sb_fail(SB_ERR_FORMAT, "%s is of %s, %s of %s: a report shows one of these; make two",
                 first->path, names[family(first->kind)], run->path, names[family(run->kind)]);
}

/* Losses on other tokens are not to be compared. */
static sb_status check_tokens(const sb_run *first, const sb_run *run) {
  static const char *const keys[] = {"token_file", "seqlen", "tokens"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    const json_t *a = json_object_get(first->json, keys[i]),
                 *b = json_object_get(run->json, keys[i]);
    if (a && b && !json_equal(a, b))
      return sb_fail(SB_ERR_FORMAT,
                     "%s and %s measure on other tokens (\"%s\" differs): a report compares what "
                     "was measured alike; leave one out",
                     first->path, run->path, keys[i]);
  }
  return SB_OK;
}

static sb_status check_together(const sb_runs *runs) {
  const sb_run *eval = NULL;
  for (size_t i = 0; i < runs->count; i++) {
    const sb_run *run = &runs->run[i];
    SB_TRY(check_family(&runs->run[0], run));
    if (run->kind != SB_RUN_EVAL) continue;
    if (eval) SB_TRY(check_tokens(eval, run));
    if (!eval) eval = run;
  }
  return SB_OK;
}

static void join(sb_runs *runs) {
  for (size_t e = 0; e < runs->count; e++) {
    const json_t *eval = runs->run[e].json;
    if (runs->run[e].kind != SB_RUN_EVAL) continue;
    for (size_t i = 0; i < runs->count; i++) {
      sb_run *run = &runs->run[i];
      if (run->kind != SB_RUN_QUANTIZE) continue;
      if (strcmp(sb_run_text(eval, "model"), sb_run_text(run->json, "out")) == 0) run->eval = eval;
      if (strcmp(sb_run_text(eval, "model"), sb_run_text(run->json, "model")) == 0)
        runs->original = eval;
    }
  }
}

/* ---- names ---- */

/* `path` without folders and ending. */
static void base_name(char *out, size_t size, const char *path) {
  const size_t bytes = strlen(path);
  size_t end = bytes;
  while (end > 1 && path[end - 1] == '/') end--;
  size_t first = end;
  while (first > 0 && path[first - 1] != '/') first--;
  static const char ending[] = ".json";
  const size_t most = sizeof ending - 1;
  if (end == bytes && end - first > most && strcmp(path + end - most, ending) == 0) end -= most;
  snprintf(out, size, "%.*s", (int)sb_min_size(end - first, size - 1), path + first);
}

static void name_series(sb_run *run) {
  const char *method = sb_run_text(run->json, "method"),
             *reorder = sb_run_text(run->json, "reorder"), *codes = sb_run_text(run->json, "codes");
  const bool uniform = strcmp(method, "rtn") == 0;
  const bool reordered = reorder[0] && strcmp(reorder, "none") != 0;
  const bool other_codes = codes[0] && strcmp(codes, "grid") != 0;
  const char *block = sb_run_text(run->json, "block");
  const bool other_block = !uniform && block[0] && strcmp(block, "128x128") != 0;
  snprintf(run->series, sizeof run->series, "%.20s%s%.20s%s%.20s%s%.12s%s%.12s",
           uniform ? "uniform" : method, uniform ? ", " : "",
           uniform ? sb_run_text(run->json, "quantizer") : "", reordered ? ", reordered " : "",
           reordered ? reorder : "", other_codes ? ", " : "", other_codes ? codes : "",
           other_block ? ", blocks of " : "", other_block ? block : "");
}

/* The folder's or the file's name; where two are the same, the number of the file behind it. */
static void name_runs(sb_runs *runs) {
  for (size_t i = 0; i < runs->count; i++) {
    sb_run *run = &runs->run[i];
    const char *out = run->kind == SB_RUN_QUANTIZE ? sb_run_text(run->json, "out")
                      : run->kind == SB_RUN_EVAL   ? sb_run_text(run->json, "model")
                                                   : "";
    base_name(run->label, sizeof run->label - 8, out[0] ? out : run->path);
    if (run->kind == SB_RUN_QUANTIZE) name_series(run);
    for (size_t j = 0; j < i; j++)
      if (runs->run[j].kind == run->kind && strcmp(runs->run[j].label, run->label) == 0) {
        const size_t n = strlen(run->label);
        snprintf(run->label + n, sizeof run->label - n, " (%zu)", i + 1);
        break;
      }
  }
}

sb_status sb_runs_read(const char *const *paths, size_t count, sb_runs *out) {
  *out = (sb_runs){0};
  if (count > SB_RUNS_MAX)
    return sb_fail(SB_ERR_USAGE, "report: %zu files; it shows at most %d", count, SB_RUNS_MAX);
  for (size_t i = 0; i < count; i++) {
    out->run[i].path = paths[i];
    out->count = i + 1;
    SB_TRY(read_one(&out->run[i]));
  }
  SB_TRY(check_together(out));
  join(out);
  name_runs(out);
  return SB_OK;
}

void sb_runs_free(sb_runs *runs) {
  for (size_t i = 0; i < runs->count; i++) json_decref(runs->run[i].json);
  runs->count = 0;
}
