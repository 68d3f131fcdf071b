#include "tests/support/ranks.h"

#include <math.h>

#include "mpi/exact.h"

static __int128 as_integer(const sb_exact *sum) {
  return (__int128)sum->high * ((__int128)1 << 48) + sum->low;
}

/* round(value * 2^80) by other means: the library's rounding to an integer below 2^53, an exact
 * integer above. */
static __int128 reference(double value) {
  int exponent;
  const double mantissa =
      frexp(value, &exponent); /* value = mantissa * 2^exponent, mantissa in [1/2, 1) */
  __int128 integer;
  if (exponent + 80 <= 53) return (__int128)rint(ldexp(value, 80));
  integer = (__int128)ldexp(mantissa, 53);
  for (int i = 53; i < exponent + 80; i++) integer *= 2;
  return integer;
}

/* The nearest double to integer * 2^-80, by the C library's reading of hexadecimal numbers. */
static double nearest(__int128 integer) {
  const bool negative = integer < 0;
  const unsigned __int128 magnitude =
      negative ? -(unsigned __int128)integer : (unsigned __int128)integer;
  char text[64];
  snprintf(text, sizeof text, "%s0x%llx%016llxp-80", negative ? "-" : "",
           (unsigned long long)(magnitude >> 64), (unsigned long long)magnitude);
  return strtod(text, NULL);
}

/* Magnitudes from 2^-100 to 2^20, both signs, some with few bits (so that ties happen). */
static double sample(uint64_t i) {
  const uint64_t h = mix(i);
  const double mantissa = i % 3 ? (double)(h >> 11) : (double)(h >> 60);
  return ldexp((h & 1 ? -1 : 1) * mantissa, (int)(h >> 1 & 0x3ff) % 60 - (i % 3 ? 100 : 85));
}

static void single_values_are_rounded_once(void **state) {
  (void)state;
  for (uint64_t i = 0; i < 20000; i++) {
    const double value = sample(i);
    sb_exact sum = {0, 0};
    EXPECT_OK(sb_exact_add(&sum, value));
    EXPECT(sum.low >= 0 && sum.low < INT64_C(1) << 48);
    EXPECT(as_integer(&sum) == reference(value));
  }
  all_ranks_passed();
}

static void ties_and_tiny_values(void **state) {
  static const struct {
    double value;
    int integer;
  } cases[] = {{0x1p-80, 1},
               {-0x1p-80, -1},
               {0x1p-81, 0},
               {0x1.8p-80, 2},
               {-0x1.8p-80, -2},
               {0x2.8p-80, 2},
               {0x3.8p-80, 4},
               {0x1.0000000000001p-81, 1},
               {-0x1.0000000000001p-81, -1},
               {0x1p-82, 0},
               {0x1.fp-82, 0},
               {5e-324, 0},
               {-5e-324, 0},
               {0.0, 0},
               {-0.0, 0},
               {0x1p-1022, 0},
               {0x1p-135, 0},
               {0x1.4p-79, 2},
               {0x1.cp-79, 4}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    sb_exact sum = {0, 0};
    EXPECT_OK(sb_exact_add(&sum, cases[i].value));
    EXPECT(as_integer(&sum) == cases[i].integer);
  }
  all_ranks_passed();
}

static void values_are_the_nearest_doubles(void **state) {
  (void)state;
  for (uint64_t i = 0; i < 20000; i++) {
    const int drop = (int)(mix(i * 3) % 110);
    __int128 integer = (__int128)((unsigned __int128)mix(i) << 64 | mix(i + 1000000)) >> 18 >> drop;
    sb_exact sum;
    if (i % 4 == 0)
      integer = (integer >> 54) * ((__int128)1 << 54) + ((__int128)1 << 53); /* often a tie */
    sum.high = (int64_t)(integer >> 48);
    sum.low = (int64_t)(integer & (((__int128)1 << 48) - 1));
    EXPECT(sb_exact_value(&sum) == nearest(integer));
  }
  all_ranks_passed();
}

static void bad_values_are_refused(void **state) {
  const double bad[] = {NAN, -NAN, INFINITY, -INFINITY, 0x1p30, -0x1p30, 1e300, -1e300, 0x1p31};
  sb_exact sum = {0, 0};
  (void)state;
  EXPECT_OK(sb_exact_add(&sum, 1.5));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    EXPECT(sb_exact_add(&sum, bad[i]) == SB_ERR_NUMERIC);
    EXPECT(sb_exact_value(&sum) == 1.5);
  }
  EXPECT_OK(sb_exact_add(&sum, 0x1p30 - 8));
  EXPECT(sb_exact_add(&sum, 8) == SB_ERR_NUMERIC); /* the sum would leave the range */
  EXPECT(sb_exact_value(&sum) == 0x1p30 - 6.5);
  EXPECT_OK(sb_exact_add(&sum, -0x1p30 + 8));
  EXPECT_OK(sb_exact_add(&sum, nextafter(-0x1p30, 0)));
  EXPECT(sb_exact_value(&sum) == nextafter(-0x1p30, 0) + 1.5);
  all_ranks_passed();
}

enum { ITEMS = 3000, SUMS = 7 };

/* Item i belongs to sum i % SUMS; where it is added, and when, depends on `deal`. */
static void any_partition_gives_the_same_bits(void **state) {
  __int128 truth[SUMS] = {0};
  size_t starts[65] = {0};
  (void)state;
  for (uint64_t i = 0; i < ITEMS; i++) truth[i % SUMS] += reference(sample(i));
  for (int r = 0; r < world.size; r++) starts[r + 1] = SUMS * (size_t)(r + 1) / (size_t)world.size;
  for (uint64_t deal = 0; deal < 10; deal++) {
    sb_exact sums[SUMS], part[SUMS];
    memset(sums, 0, sizeof sums);
    for (uint64_t k = 0; k < ITEMS; k++) {
      const uint64_t i = (k * 7 + deal * 13) % ITEMS; /* 7 and 3000 have no common factor */
      if (mix(i + deal * 99991) % (uint64_t)world.size == (uint64_t)world.rank)
        EXPECT_OK(sb_exact_add(&sums[i % SUMS], sample(i)));
    }
    EXPECT_OK(sb_exact_reduce_scatter(part, sums, starts, world.comm));
    EXPECT_OK(sb_exact_allreduce(sums, SUMS, world.comm));
    for (int s = 0; s < SUMS; s++) {
      EXPECT(as_integer(&sums[s]) == truth[s]);
      EXPECT(sums[s].low >= 0 && sums[s].low < INT64_C(1) << 48);
      EXPECT(sb_exact_value(&sums[s]) == nearest(truth[s]));
    }
    for (size_t s = starts[world.rank]; s < starts[world.rank + 1]; s++)
      EXPECT(memcmp(&part[s - starts[world.rank]], &sums[s], sizeof *sums) == 0);
  }
  all_ranks_passed();
}

static void sums_out_of_range_are_refused_by_all(void **state) {
  sb_exact sums[2] = {{0, 0}, {0, 0}};
  size_t starts[65] = {0};
  const double share = 0x1p30 / world.size;
  (void)state;
  for (int r = 0; r < world.size; r++) starts[r + 1] = 2;
  EXPECT_OK(sb_exact_add(&sums[1], world.rank % 2 ? -share * 0.999 : share * 0.999));
  EXPECT_OK(sb_exact_allreduce(sums, 2, world.comm));
  EXPECT(sb_exact_value(&sums[1]) == (world.size % 2 ? share * 0.999 : 0));
  sums[1] = (sb_exact){0, 0};
  if (world.size == 1)
    EXPECT_OK(sb_exact_add(&sums[1], nextafter(0x1p30, 0)));
  else
    EXPECT_OK(sb_exact_add(&sums[1], share * 1.001));
  if (world.size > 1) {
    const sb_exact before = sums[1];
    EXPECT(sb_exact_allreduce(sums, 2, world.comm) == SB_ERR_NUMERIC);
    EXPECT(sb_exact_reduce_scatter(sums, sums, starts, world.comm) == SB_ERR_NUMERIC);
    EXPECT(memcmp(&before, &sums[1], sizeof before) == 0);
  }
  all_ranks_passed();
}

/* Every rank's largest value counts; division and multiplication by the unit are exact. */
static void units_are_powers_of_two(void **state) {
  static const double largest[] = {0, 1, 0.75, -0.75, 1e300, 1e-300, 3e-310, 4, 4.5, -1e-30};
  static const double units[] = {1, 2, 1, 1, 0, 0, 0, 8, 8, 0}; /* 0: only the rules below */
  (void)state;
  for (size_t i = 0; i < sizeof largest / sizeof *largest; i++) {
    double unit = 0;
    EXPECT_OK(sb_exact_unit(world.rank == world.size - 1 ? largest[i] : 0, world.comm, &unit));
    if (units[i] != 0) EXPECT(unit == units[i]);
    if (largest[i] == 0) continue;
    EXPECT(fabs(largest[i]) <= unit && fabs(largest[i]) >= unit / 2 &&
           largest[i] / unit * unit == largest[i]);
  }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(single_values_are_rounded_once),
    cmocka_unit_test(ties_and_tiny_values),
    cmocka_unit_test(values_are_the_nearest_doubles),
    cmocka_unit_test(bad_values_are_refused),
    cmocka_unit_test(any_partition_gives_the_same_bits),
    cmocka_unit_test(sums_out_of_range_are_refused_by_all),
    cmocka_unit_test(units_are_powers_of_two),
};
RANKS_MAIN(tests)
