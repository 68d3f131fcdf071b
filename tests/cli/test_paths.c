/* Paths become absolute where the working folder is to be replaced, and only there. */
#include "cli/paths.h"

#include <limits.h>
#include <sys/stat.h>

#include "tests/support/assertions.h"
#include "tests/support/scratch.h"

static char here[PATH_MAX];

static const char *model, *out, *calib, *json, *none, *tokens;
static char tokens_given[64] = "--tokens=a_*.bin:0.7,/b.bin,../c.npy:2";

static sb_status parse_and_settle(char *to) {
  static char command[] = "quantize", source[] = "../model", dash[] = "-o",
              c[] = "--calib=/abs/tokens", j[] = "--json", report[] = "report.json";
  char *argv[] = {command, source, dash, to, c, j, report, tokens_given, NULL};
  bool help;
  const sb_argument arguments[] = {{"MODEL", &model, "A folder."}};
  const sb_option own[] = {
      {.name = "out", .letter = 'o', .kind = SB_OPTION_STRING, .value = &out, .operand = "DIR"},
      {.name = "calib", .kind = SB_OPTION_STRING, .value = &calib, .operand = "TOKENS"},
      {.name = "tokens",
       .kind = SB_OPTION_STRING,
       .value = &tokens,
       .file = SB_FILE_TOKENS,
       .operand = "FILES"}};
  const sb_option common[] = {
      {.name = "json", .kind = SB_OPTION_STRING, .value = &json, .operand = "FILE"},
      {.name = "none", .kind = SB_OPTION_STRING, .value = &none, .operand = "FILE"}};
  const sb_usage usage = {.command = "quantize",
                          .synopsis = "",
                          .arguments = arguments,
                          .argument_count = 1,
                          .options = own,
                          .option_count = 3,
                          .common = common,
                          .common_count = 2};
  model = out = calib = json = none = tokens = NULL;
  SB_TRY(sb_options_parse(&usage, 8, argv, &help));
  return sb_paths_settle(&usage);
}

static void elsewhere_they_stay(void **state) {
  (void)state;
  char other[] = "../other", missing[] = "not-there", child[] = "child";
  assert_int_equal(mkdir("../other", 0700) | mkdir("child", 0700), 0);
  assert_ok(parse_and_settle(other));
  assert_string_equal(model, "../model");
  assert_string_equal(json, "report.json");
  assert_string_equal(tokens, "a_*.bin:0.7,/b.bin,../c.npy:2");
  assert_ok(parse_and_settle(missing));
  assert_string_equal(out, "not-there");
  assert_ok(parse_and_settle(child)); /* the working folder stays */
  assert_string_equal(out, "child");
}

static void the_working_folder_and_above(void **state) {
  (void)state;
  static const struct {
    const char *given, *absolute; /* behind the folder that holds the working folder */
  } folders[] = {
      {".", "/work"}, {"..", ""}, {"../work/", "/work/"}, {"child/..", "/work/child/.."}};
  char expected[2 * PATH_MAX + 64], above[PATH_MAX];
  snprintf(above, sizeof above, "%.*s", (int)(strrchr(here, '/') - here), here);
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
    char to[64];
    snprintf(to, sizeof to, "%s", folders[i].given);
    assert_ok(parse_and_settle(to));
    snprintf(expected, sizeof expected, "%s/model", above);
    assert_string_equal(model, expected);
    snprintf(expected, sizeof expected, "%s%s", above, folders[i].absolute);
    assert_string_equal(out, expected);
    snprintf(expected, sizeof expected, "%s/report.json", here);
    assert_string_equal(json, expected);
    assert_string_equal(calib, "/abs/tokens");
    snprintf(expected, sizeof expected, "%s/a_*.bin:0.7,/b.bin,%s/c.npy:2", here, above);
    assert_string_equal(tokens, expected);
    assert_null(none);
  }
}

/* As where the list is read (cli/token_list.h): a file that is there is one, whatever its name; an
 * empty name stays empty, and is refused there. */
static void names_of_token_files(void **state) {
  (void)state;
  char before[sizeof tokens_given], expected[2 * PATH_MAX + 64], to[] = ".";
  memcpy(before, tokens_given, sizeof before);
  fclose(fopen("a,b.bin", "w"));
  strcpy(tokens_given, "--tokens=a,b.bin");
  assert_ok(parse_and_settle(to));
  snprintf(expected, sizeof expected, "%s/a,b.bin", here);
  assert_string_equal(tokens, expected);
  strcpy(tokens_given, "--tokens=a,,b.bin");
  assert_ok(parse_and_settle(to));
  snprintf(expected, sizeof expected, "%s/a,,%s/b.bin", here, here);
  assert_string_equal(tokens, expected);
  memcpy(tokens_given, before, sizeof before);
}

static void absolute_paths(void **state) {
  (void)state;
  static const struct {
    const char *path, *tail; /* behind the working folder */
  } cases[] = {{"a", "/a"},     {"./a/../b", "/a/../b"}, {".a", "/.a"},
               {"..a", "/..a"}, {".//./a/", "/a/"},      {".", ""},
               {"...", "/..."}};
  char out_path[PATH_MAX], expected[PATH_MAX + 64], far[400] = "a";
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_ok(sb_path_absolute(cases[i].path, out_path));
    snprintf(expected, sizeof expected, "%s%s", here, cases[i].tail);
    assert_string_equal(out_path, expected);
  }
  for (int i = 0; i < 60; i++) memmove(far + 3, far, strlen(far) + 1), memcpy(far, "../", 3);
  assert_ok(sb_path_absolute(far, out_path)); /* further up than the root */
  assert_string_equal(out_path, "/a");
  assert_ok(sb_path_absolute("//x/../y", out_path));
  assert_string_equal(out_path, "/x/../y");
}

static int stand_in_scratch(void **state) {
  if (scratch_setup(state) != 0 || mkdir(scratch_path("work"), 0700) != 0) return -1;
  return chdir(scratch_path("work")) == 0 && getcwd(here, sizeof here) ? 0 : -1;
}

static int leave_scratch(void **state) {
  return chdir("/") == 0 ? scratch_teardown(state) : -1;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_of_token_files), cmocka_unit_test(absolute_paths),
      cmocka_unit_test(elsewhere_they_stay), cmocka_unit_test(the_working_folder_and_above)};
  return cmocka_run_group_tests(tests, stand_in_scratch, leave_scratch);
}
