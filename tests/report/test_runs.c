/* Which files go into one report, which eval belongs to which run, and what they are called. */
#include "report/runs.h"

#include <math.h>
#include <string.h>

#include "tests/support/assertions.h"
#include "tests/support/files.h"
#include "tests/support/scratch.h"

#define HEAD "\"program\": \"shardbits\", \"command\": "
#define QUANTIZE(out, method)                                                                      \
  "{" HEAD "\"quantize\", \"model\": \"m\", \"out\": \"" out "\", \"method\": \"" method           \
  "\", \"quantizer\": \"gptq\", \"reorder\": \"none\", \"effective_bits\": 2.5}"
#define EVAL(model, more) "{" HEAD "\"eval\", \"model\": \"" model "\", \"perplexity\": 9" more "}"

static const char *put(const char *name, const char *text) {
  const char *path = scratch_path(name);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fputs(text, file) >= 0, 1);
  assert_int_equal(fclose(file), 0);
  return path;
}

static void joined(void **state) {
  (void)state;
  const char *paths[] = {put("a.json", QUANTIZE("x/one", "scalebits")),
                         put("b.json", EVAL("x/two", ", \"tokens\": 7")),
                         put("c.json", QUANTIZE("x/two", "rtn")),
                         put("d.json", EVAL("m", ", \"tokens\": 7, \"mean_kl\": 0")),
                         put("e.json", QUANTIZE("y/one/", "scalebits"))};
  sb_runs runs;
  assert_ok(sb_runs_read(paths, 5, &runs));
  assert_null(runs.run[0].eval);
  assert_ptr_equal(runs.run[2].eval, runs.run[1].json);
  assert_ptr_equal(runs.original, runs.run[3].json);
  assert_string_equal(runs.run[0].label, "one");
  assert_string_equal(runs.run[2].label, "two");
  assert_string_equal(runs.run[4].label, "one (5)");
  assert_string_equal(runs.run[0].series, "scalebits");
  assert_string_equal(runs.run[2].series, "uniform, gptq");
  assert_string_equal(sb_runs_measure(&runs), "perplexity");
  assert_true(isnan(sb_run_real(runs.run[0].json, "model")));
  sb_runs_free(&runs);
}

static void events(void **state) {
  (void)state;
  const char *paths[] = {put("t.jsonl", "{\"event\": \"begin\", \"step\": 0}\n"
                                        "{\"event\": \"step\", \"step\": 1, \"loss\": 5}\n"
                                        "{\"event\": \"st")};
  sb_runs runs;
  assert_ok(sb_runs_read(paths, 1, &runs));
  assert_int_equal(runs.run[0].kind, SB_RUN_EVENTS);
  assert_int_equal(json_array_size(runs.run[0].json), 2);
  sb_runs_free(&runs);
}

static void refused(const char *one, const char *two, const char *text) {
  const char *paths[] = {put("one.json", one), two ? put("two.json", two) : NULL};
  sb_runs runs;
  assert_fails(sb_runs_read(paths, two ? 2 : 1, &runs), SB_ERR_FORMAT, text);
  sb_runs_free(&runs);
}

static void refusals(void **state) {
  (void)state;
  refused("{\"program\": \"other\"}", NULL, "no result of shardbits");
  refused("{\"a\": 1}", NULL, "no result of shardbits");
  refused("[1]", NULL, "one.json");
  refused("{\"program\": \"shardbits\", \"command\": \"bench\"}", NULL, "is of shardbits bench");
  refused("{" HEAD "\"quantize\", \"model\": \"m\", \"method\": \"rtn\"}", NULL, "effective_bits");
  refused(QUANTIZE("o", "rtn"), "{" HEAD "\"train\"}", "make two");
  refused("{" HEAD "\"train\"}", "{\"format\": \"shardbits-profile\", \"linears\": []}",
          "make two");
  refused(EVAL("a", ", \"seqlen\": 8"), EVAL("b", ", \"seqlen\": 9"), "\"seqlen\" differs");
  refused(EVAL("a", ", \"token_file\": \"u\""), EVAL("b", ", \"token_file\": \"v\""),
          "other tokens");
  sb_runs runs;
  const char *none[] = {scratch_path("none.json")};
  assert_fails(sb_runs_read(none, 1, &runs), SB_ERR_IO, "none.json");
  sb_runs_free(&runs);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(joined), cmocka_unit_test(events),
                                     cmocka_unit_test(refusals)};
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
