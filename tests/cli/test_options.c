/* Parsing: every kind of option in every spelling, and one line for every mistake. */
#include "cli/options.h"

#include "tests/support/assertions.h"

typedef struct values {
  bool flag;
  int number;
  unsigned count;
  bool counted; /* --count was given */
  enum colour { RED, GREEN } choice;
  size_t size, shape[2];
  uint64_t seed;
  double real;
  const char *text, *model;
} values;

static const char *const colours[] = {[RED] = "red", [GREEN] = "green", NULL};

/* Parses the words of `line` (split at spaces) into *v, which starts with the defaults. */
static sb_status parse(const char *line, values *v, bool *help, char *help_text, size_t help_size) {
  static char copy[512];
  char *argv[32];
  int argc = 0;
  const sb_argument arguments[] = {{"MODEL", &v->model, "A folder."}};
  const sb_option options[] = {
      {.name = "flag", .letter = 'f', .kind = SB_OPTION_FLAG, .value = &v->flag, .help = "A flag."},
      {.name = "number",
       .kind = SB_OPTION_INT,
       .value = &v->number,
       .low = -5,
       .high = 5,
       .operand = "N",
       .help = "A number."},
      {.name = "size",
       .kind = SB_OPTION_SIZE,
       .value = &v->size,
       .low = 2,
       .high = 1e12,
       .operand = "N",
       .help = "A size."},
      {.name = "real",
       .kind = SB_OPTION_REAL,
       .value = &v->real,
       .low = 1,
       .high = 8,
       .operand = "B",
       .help = "Bits."},
      {.name = "out",
       .letter = 'o',
       .kind = SB_OPTION_STRING,
       .value = &v->text,
       .operand = "DIR",
       .help = "Where to.",
       .required = true},
      {.name = "count",
       .section = "more",
       .kind = SB_OPTION_UNSIGNED,
       .value = &v->count,
       .given = &v->counted,
       .low = 1,
       .high = 8,
       .operand = "N",
       .help = "A count."},
  };
  const sb_option common[] = {
      {.name = "seed",
       .kind = SB_OPTION_SEED,
       .value = &v->seed,
       .operand = "N",
       .help = "A seed."},
      {.name = "colour", SB_OPTION_ENUM(v->choice, colours), .operand = "C", .help = "A colour."},
      {.name = "block",
       .kind = SB_OPTION_SHAPE,
       .value = v->shape,
       .low = 1,
       .high = 1024,
       .operand = "RxC",
       .help = "A block."},
  };
  const sb_usage usage = {.command = "cmd",
                          .synopsis = "MODEL -o DIR [options]",
                          .purpose = "Does a thing.",
                          .examples = "  shardbits cmd m -o d",
                          .arguments = arguments,
                          .argument_count = 1,
                          .options = options,
                          .option_count = 6,
                          .common = common,
                          .common_count = 3};
  *v = (values){.number = 3, .count = 4, .size = 512, .real = 2.5, .shape = {128, 128}, .seed = 7};
  snprintf(copy, sizeof copy, "cmd %s", line);
  for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
  argv[argc] = NULL;
  if (help_text) {
    FILE *out = fmemopen(help_text, help_size, "w");
    assert_non_null(out);
    sb_options_help(&usage, out);
    fclose(out);
  }
  return sb_options_parse(&usage, argc, argv, help);
}

/* Of two arguments the last may be left out. */
static void optional_arguments(void **state) {
  (void)state;
  const char *first = NULL, *second = NULL;
  char *none[] = {"cmd", NULL}, *one[] = {"cmd", "a", NULL}, *two[] = {"cmd", "a", "b", NULL};
  const sb_argument arguments[] = {{"FIRST", &first, "One."}, {"SECOND", &second, "Another."}};
  const sb_usage usage = {.command = "cmd",
                          .synopsis = "FIRST [SECOND]",
                          .purpose = "Does a thing.",
                          .arguments = arguments,
                          .argument_count = 2,
                          .optional_count = 1};
  bool help;
  assert_int_equal(sb_options_parse(&usage, 1, none, &help), SB_ERR_USAGE);
  assert_string_equal(sb_message(), "cmd: FIRST is missing; usage: shardbits cmd FIRST [SECOND]");
  assert_ok(sb_options_parse(&usage, 2, one, &help));
  assert_true(second == NULL);
  assert_string_equal(first, "a");
  assert_ok(sb_options_parse(&usage, 3, two, &help));
  assert_string_equal(second, "b");
}

static void spellings(void **state) {
  (void)state;
  values v;
  bool help;
  assert_ok(parse("m -o d", &v, &help, NULL, 0));
  assert_string_equal(v.model, "m");
  assert_string_equal(v.text, "d");
  assert_true(!help && !v.flag && v.number == 3 && v.size == 512 && v.real == 2.5 && v.seed == 7 &&
              v.choice == RED);
  assert_true(v.count == 4 && !v.counted);
  assert_ok(parse(
      "--out=d --flag --number -5 --size=1000000000000 m --real 3.25 --seed 18446744073709551615 "
      "--colour green --block 64x256 --count 4",
      &v, &help, NULL, 0));
  assert_true(v.flag && v.number == -5 && v.size == 1000000000000 && v.real == 3.25 &&
              v.seed == UINT64_MAX);
  assert_true(v.choice == GREEN && v.count == 4 && v.counted && v.shape[0] == 64 &&
              v.shape[1] == 256);
  assert_ok(parse("-f -o a --out b -- --odd-name", &v, &help, NULL,
                  0)); /* the last one counts; "--" ends options */
  assert_string_equal(v.text, "b");
  assert_string_equal(v.model, "--odd-name");
  assert_ok(parse("m --out=a=b", &v, &help, NULL, 0));
  assert_string_equal(v.text, "a=b");
}

static void mistakes(void **state) {
  (void)state;
  static const struct {
    const char *line, *says[2];
  } cases[] = {
      {"-o d", {"MODEL is missing", "usage: shardbits cmd MODEL -o DIR"}},
      {"m", {"--out DIR is missing", "usage"}},
      {"m n -o d", {"unexpected argument n", "usage"}},
      {"m -o", {"--out needs a value", "DIR"}},
      {"m -o d --sizes 3", {"unknown option --sizes", "did you mean --size?"}},
      {"m -o d --sz=3", {"unknown option --sz", "did you mean --size?"}},
      {"m -o d --color red", {"unknown option --color", "--colour"}},
      {"m -o d --xyzzy", {"unknown option --xyzzy", "shardbits cmd --help"}},
      {"m -o d -x", {"unknown option -x", "--help"}},
      {"m -o d -fo", {"unknown option -fo", "--help"}},
      {"m -o d --flag=1", {"--flag takes no value", ""}},
      {"m -o d --number 6", {"--number 6", "from -5 to 5"}},
      {"m -o d --number 1.5", {"--number 1.5", "whole number"}},
      {"m -o d --number 99999999999999999999", {"--number", "whole number"}},
      {"m -o d --count -1", {"--count -1", "from 1 to 8"}},
      {"m -o d --count 9", {"--count 9", "from 1 to 8"}},
      {"m -o d --size -1", {"--size -1", "from 2 to 1000000000000"}},
      {"m -o d --size 4k", {"--size 4k", "whole number"}},
      {"m -o d --real nan", {"--real nan", "from 1 to 8"}},
      {"m -o d --real 8.5", {"--real 8.5", "from 1 to 8"}},
      {"m -o d --real 2,5", {"--real 2,5", "a number"}},
      {"m -o d --colour blue", {"--colour blue", "red, green"}},
      {"m -o d --block 128", {"--block 128", "128x128"}},
      {"m -o d --block 0x128", {"--block 0x128", "from 1 to 1024"}},
      {"m -o d --block 128x", {"--block 128x", "ROWSxCOLS"}},
      {"m -o d --seed -1", {"--seed -1", "below 2^64"}},
      {"m -o d --seed 18446744073709551616", {"--seed", "below 2^64"}},
      {"m --out=", {"--out", "empty"}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    values v;
    bool help;
    if (parse(cases[i].line, &v, &help, NULL, 0) != SB_ERR_USAGE)
      fail_msg("accepted: %s", cases[i].line);
    assert_says("cmd: ");
    assert_says(cases[i].says[0]);
    assert_says(cases[i].says[1]);
  }
}

static void help_text(void **state) {
  (void)state;
  char text[4096] = "";
  values v;
  bool help;
  assert_ok(parse("--bogus -h", &v, &help, text, sizeof text));
  assert_true(help);
  static const char *const has[] = {
      "usage: shardbits cmd MODEL -o DIR [options]\n\nDoes a thing.\n",
      "  MODEL                   A folder.\n",
      "  -f, --flag              A flag.\n",
      "\noptions:\n  -f, --flag              A flag.\n",
      "\nmore:\n  --count N               A count. [4]\n\ncommon options:\n",
      "  --number N              A number. [3]\n",
      "  --real B                Bits. [2.5]\n",
      "  -o, --out DIR           Where to. [required]\n",
      "  --colour C              A colour. One of red, green. [red]\n",
      "  --block RxC             A block. [128x128]\n",
      "examples:\n  shardbits cmd m -o d\n"};
  for (size_t i = 0; i < sizeof has / sizeof *has; i++)
    if (!strstr(text, has[i])) fail_msg("\"%s\" is not in:\n%s", has[i], text);
  assert_ok(parse("m -o d -- --help", &v, &help, NULL, 0) == SB_ERR_USAGE ? SB_OK
                                                                          : SB_ERR_INTERNAL);
  assert_false(help);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(spellings),
                                     cmocka_unit_test(optional_arguments),
                                     cmocka_unit_test(mistakes), cmocka_unit_test(help_text)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
