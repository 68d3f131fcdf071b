/* Every bf16 number under every low precision, against what ml_dtypes makes of it under scales at
 * the edges (tests/golden/lowprec.txt by tools/make_lowprec_golden.py): to the bit. */
#include "tests/kernels/check.h"

#include <stdlib.h>
#include <string.h>

static const struct {
  const char *name;
  sb_precision precision;
  sb_lowprec_operand operand;
  sb_lowprec_options options;
} formats[] = {
    {"fp8-tensor", SB_PRECISION_FP8_TENSOR, SB_LOWPREC_X, {0}},
    {"fp8-tensor-e5m2", SB_PRECISION_FP8_TENSOR, SB_LOWPREC_DY, {0}},
    {"fp8-128", SB_PRECISION_FP8_128, SB_LOWPREC_X, {0}},
    {"fp8-128-f32", SB_PRECISION_FP8_128, SB_LOWPREC_X, {.fp8_128_f32_scales = true}},
    {"mxfp8", SB_PRECISION_MXFP8, SB_LOWPREC_X, {0}},
    {"mxfp8-e5m2", SB_PRECISION_MXFP8, SB_LOWPREC_DY, {.fp8_dy = SB_LOWPREC_DY_E5M2}},
    {"mxfp4", SB_PRECISION_MXFP4, SB_LOWPREC_X, {.mxfp4_scale = SB_SCALE_FLOOR}},
    {"mxfp4-ceil", SB_PRECISION_MXFP4, SB_LOWPREC_X, {.mxfp4_scale = SB_SCALE_CEIL}},
    {"mxfp4-even", SB_PRECISION_MXFP4, SB_LOWPREC_X, {.mxfp4_scale = SB_SCALE_EVEN}},
    {"mxfp4-up", SB_PRECISION_MXFP4, SB_LOWPREC_X, {.mxfp4_scale = SB_SCALE_UP}},
    {"nvfp4", SB_PRECISION_NVFP4, SB_LOWPREC_X, {0}},
    {"fp4-128", SB_PRECISION_FP4_128, SB_LOWPREC_X, {0}},
};
enum { FORMATS = sizeof formats / sizeof *formats, NUMBERS = 0x8000 };

/* The line of the file: a value for every non-negative input up to amax. */
typedef struct golden {
  size_t format;
  unsigned amax, tensor;
  uint32_t want[NUMBERS]; /* f32 bits by bf16 bits */
} golden;

static void parse(golden *g, char *line) {
  char *save, *word = strtok_r(line, " \n", &save);
  g->format = 0;
  while (g->format < FORMATS && strcmp(formats[g->format].name, word) != 0) g->format++;
  if (g->format == FORMATS) fail_msg("a golden line of an unknown format: %s", word);
  g->amax = (unsigned)strtoul(strtok_r(NULL, " \n", &save), NULL, 16);
  g->tensor = (unsigned)strtoul(strtok_r(NULL, " \n", &save), NULL, 16);
  while ((word = strtok_r(NULL, " \n", &save))) {
    char *end;
    const unsigned start = (unsigned)strtoul(word, &end, 16);
    const uint32_t value = (uint32_t)strtoul(end + 1, NULL, 16);
    for (unsigned i = start; i <= g->amax; i++) g->want[i] = value;
  }
}

/* A row of blocks: each begins with amax, and the rest of them are all numbers of both signs up to
 * amax. The last row has the tensor's amax. Returns the number of wrong results. */
static size_t mismatches(sb_backend *be, const golden *g) {
  const sb_lowprec_rule rule =
      sb_lowprec_rule_of(formats[g->format].precision, formats[g->format].operand, SB_FPROP,
                         &formats[g->format].options);
  const size_t width = rule.tile_cols ? rule.tile_cols : 128, numbers = 2 * (g->amax + 1);
  const size_t rows = (numbers + width - 2) / (width - 1) + 1, count = rows * width;
  uint16_t *x = (uint16_t *)(void *)check_zeros(count);
  uint32_t *got = (uint32_t *)(void *)check_zeros(count);
  size_t wrong = 0;
  assert_int_equal(rule.tile_rows, rule.tile_cols ? 1 : 0);
  for (size_t i = 0, n = 0; i < count; i++) {
    const size_t number = i % width == 0 ? g->amax : n++ % numbers;
    x[i] = (uint16_t)(number / (g->amax + 1) << 15 | number % (g->amax + 1));
  }
  for (size_t i = 0; i < width; i++) x[count - 1 - i] = (uint16_t)g->tensor;
  const sb_lowprec_args args = {.rule = rule,
                                .rows = rows,
                                .cols = width,
                                .src = x,
                                .src_dtype = SB_BF16,
                                .dst = got,
                                .dst_dtype = SB_F32};
  assert_ok(be->op->round_lowprec(be, NULL, &args));
  for (size_t i = 0; i < count - width; i++) {
    const uint32_t want = g->want[x[i] & 0x7fff] | (uint32_t)(x[i] >> 15) << 31;
    if (got[i] != want && wrong++ == 0)
      print_message("%s, amax %04x of %04x: %04x became %08x, not %08x\n", formats[g->format].name,
                    g->amax, g->tensor, x[i], got[i], want);
  }
  check_done();
  return wrong;
}

static void every_number(void **state) {
  sb_backend *be = check_backend(SB_COMPUTE_F32);
  static golden g;
  FILE *file = fopen(SB_SOURCE_DIR "/tests/golden/lowprec.txt", "r");
  char *line = NULL;
  size_t room = 0, cases[FORMATS] = {0}, numbers = 0, wrong = 0;
  (void)state;
  if (!file) fail_msg("tests/golden/lowprec.txt cannot be read");
  while (getline(&line, &room, file) > 0) {
    parse(&g, line);
    cases[g.format]++;
    numbers += 2 * (g.amax + 1);
    wrong += mismatches(be, &g);
  }
  free(line);
  fclose(file);
  be->op->destroy(be);
  print_message("%zu numbers under %d formats: %zu mismatches\n", numbers, (int)FORMATS, wrong);
  assert_int_equal(wrong, 0);
  for (size_t f = 0; f < FORMATS; f++) assert_true(cases[f] >= 7);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_number)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
