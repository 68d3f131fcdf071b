/* Tickers: parts land in their range of the whole, so do parts of parts, and
 * nobody has to listen. */
#include "base/ticker.h"

#include "tests/support/assertions.h"

static void note(void *context, double done) {
  *(double *)context = done;
}

static void part_of_a_part(void **state) {
  (void)state;
  double heard = -1;
  sb_ticker_part half = {{note, &heard}, 0.5, 0.5}, quarter = {sb_ticker_of_part(&half), 0.25, 0.5};
  const sb_ticker ticker = sb_ticker_of_part(&quarter);
  sb_tick(ticker, 0);
  assert_true(heard == 0.625);
  sb_tick(ticker, 1);
  assert_true(heard == 0.875);
}

static void a_range_may_move(void **state) {
  (void)state;
  double heard = -1;
  sb_ticker_part part = {{note, &heard}, 0, 0.25};
  const sb_ticker ticker = sb_ticker_of_part(&part);
  for (int pass = 0; pass < 4; pass++, part.first += part.share) {
    sb_tick(ticker, 0.5);
    assert_true(heard == 0.125 + 0.25 * pass);
  }
}

static void nobody_listens(void **state) {
  (void)state;
  sb_ticker_part part = {SB_NO_TICKER, 0, 1};
  sb_tick(SB_NO_TICKER, 0.5);
  sb_tick(sb_ticker_of_part(&part), 0.5);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(part_of_a_part),
                                     cmocka_unit_test(a_range_may_move),
                                     cmocka_unit_test(nobody_listens)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
