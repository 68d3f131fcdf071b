#include "cli/nearest.h"

#include "tests/support/assertions.h"

static const char *const words[] = {"inspect", "plan", "quantize", "eval", "verify", "export"};

static void near_and_far(void **state) {
  (void)state;
  static const struct {
    const char *typed, *meant;
  } cases[] = {{"quantise", "quantize"},
               {"qauntize", "quantize"},
               {"verfy", "verify"},
               {"evaluate", "eval"},
               {"insp", "inspect"},
               {"exprot", "export"},
               {"paln", "plan"},
               {"benchmark", NULL},
               {"x", NULL},
               {"", NULL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *found = sb_nearest(cases[i].typed, words, 6);
    if (!cases[i].meant && !found) continue;
    if (!found || !cases[i].meant || strcmp(found, cases[i].meant) != 0)
      fail_msg("%s: %s, expected %s", cases[i].typed, found ? found : "(none)",
               cases[i].meant ? cases[i].meant : "(none)");
  }
  char endless[500];
  memset(endless, 'a', sizeof endless - 1);
  endless[499] = 0;
  assert_null(sb_nearest(endless, words, 6));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(near_and_far)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
