/* Text of others stays text; numbers that are none are dashes; colours of a range differ in
 * lightness, and text on them can be read. */
#include "report/page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/chart.h"
#include "tests/support/assertions.h"

static void escaping(void **state) {
  (void)state;
  sb_page page = {0};
  sb_page_element(&page, "b", "", "<script>alert('x')</script> & \"y\"\n\x1b[2J\xff");
  assert_string_equal(page.text, "<b>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; "
                                 "&quot;y&quot;\\n\\x1b[2J\\xff</b>");
  assert_int_equal(page.bytes, strlen(page.text));
  sb_page_free(&page);
  assert_null(page.text);
}

static void growing(void **state) {
  (void)state;
  sb_page page = {0};
  size_t expected = 0;
  for (int i = 0; i < 20000; i++) {
    sb_page_add(&page, "<i>%d</i>", i);
    expected += (size_t)snprintf(NULL, 0, "<i>%d</i>", i);
  }
  assert_ok(page.status);
  assert_int_equal(page.bytes, expected);
  assert_non_null(strstr(page.text, "<i>0</i><i>1</i>"));
  assert_string_equal(page.text + page.bytes - 12, "<i>19999</i>");
  sb_page_free(&page);
}

static void cells(void **state) {
  (void)state;
  sb_page page = {0};
  sb_page_number(&page, 2.49876, 3);
  sb_page_number(&page, NAN, 3);
  sb_page_cell(&page, "%s", "a<b");
  assert_string_equal(page.text, "<td>2.5</td><td>&#8211;</td><td>a&lt;b</td>");
  sb_page_free(&page);
}

static double luminance(const char *colour) {
  static const double weights[] = {0.2126, 0.7152, 0.0722};
  double sum = 0;
  for (int k = 0; k < 3; k++) {
    const char pair[] = {colour[1 + 2 * k], colour[2 + 2 * k], 0};
    const double c = (double)strtol(pair, NULL, 16) / 255;
    sum += weights[k] * (c <= 0.04045 ? c / 12.92 : pow((c + 0.055) / 1.055, 2.4));
  }
  return sum;
}

/* WCAG 2.2, 1.4.3: 4.5 to 1. */
static void colours(void **state) {
  (void)state;
  double before = -1;
  for (int i = 0; i <= 100; i++) {
    char colour[8];
    bool dark;
    sb_chart_colour(i / 100.0, colour, &dark);
    const double light = luminance(colour);
    const double contrast = dark ? (light + 0.05) / 0.05 : 1.05 / (light + 0.05);
    assert_true(contrast >= 4.5);
    assert_true(light > before - 1e-3);
    before = light;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(escaping), cmocka_unit_test(growing),
                                     cmocka_unit_test(cells), cmocka_unit_test(colours)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
