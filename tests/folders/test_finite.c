/* NaN and infinity in every weight type, at every position of a vector and its tail. */
#include "folders/finite.h"

#include <math.h>

#include "tests/support/config_json.h"

static void finds_each(void **state) {
  (void)state;
  enum { N = 131 };
  static const double bad[] = {NAN, INFINITY, -INFINITY};
  static const sb_dtype types[] = {SB_F32, SB_F16, SB_BF16};
  for (int t = 0; t < 3; t++) {
    float f[N];
    uint32_t raw[N];
    for (int i = 0; i < N; i++)
      f[i] = (i % 2 ? -1.0f : 1.0f) * (t == 1 ? 65504.0f : 3e38f); /* large, but finite */
    sb_from_f32(raw, types[t], f, N);
    assert_int_equal(sb_finite_first_bad(raw, types[t], N), N);
    for (int kind = 0; kind < 3; kind++)
      for (size_t at = 0; at < N; at++) {
        float keep = f[at], last = f[N - 1];
        f[at] = (float)bad[kind];
        f[N - 1] = (float)bad[kind]; /* a second one, later: the first counts */
        sb_from_f32(raw, types[t], f, N);
        assert_int_equal(sb_finite_first_bad(raw, types[t], N), at);
        f[N - 1] = last;
        f[at] = keep;
      }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(finds_each)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
