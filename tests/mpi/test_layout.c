#include "tests/support/ranks.h"

#include "mpi/layout.h"

/* Local arithmetic, checked for many numbers of ranks in one process. */
static void cuts_are_balanced_to_within_one_unit(void **state) {
  uint64_t seed = 11;
  (void)state;
  for (int round = 0; round < 500; round++) {
    size_t sizes[40], largest = 0, image = 0;
    const size_t units = draw(&seed, 40);
    const int ranks = 1 + (int)draw(&seed, 20);
    const sb_store_group group = {units, sizes};
    sb_layout layout;
    for (size_t u = 0; u < units; u++) {
      sizes[u] = draw(&seed, 3) ? draw(&seed, 5000) : draw(&seed, 3);
      largest = sb_max_size(largest, sizes[u]);
      image += sizes[u];
    }
    assert_int_equal(sb_layout_create(&group, 1, ranks, &layout), SB_OK);
    assert_int_equal(layout.largest, image);
    assert_int_equal(sb_layout_image(&layout, 0), image);
    assert_int_equal(layout.groups[0].cuts[0], 0);
    assert_int_equal(layout.groups[0].cuts[ranks], units);
    for (int r = 1; r < ranks;
         r++) { /* no unit boundary is nearer to the equal share than the cut */
      const size_t share = image * (size_t)r / (size_t)ranks, *offsets = layout.groups[0].offsets;
      const size_t cut = offsets[layout.groups[0].cuts[r]];
      for (size_t u = 0; u <= units; u++)
        assert_true(llabs((long long)(cut - share)) <= llabs((long long)(offsets[u] - share)));
    }
    for (int r = 0; r < ranks; r++) {
      const size_t owned = sb_layout_owned(&layout, 0, r);
      size_t sum = 0;
      assert_true(layout.groups[0].cuts[r] <= layout.groups[0].cuts[r + 1]);
      for (size_t u = layout.groups[0].cuts[r]; u < layout.groups[0].cuts[r + 1]; u++)
        sum += sizes[u];
      assert_int_equal(owned, sum);
      /* |owned - image / ranks| <= largest, in integers */
      assert_true(owned * (size_t)ranks <= image + largest * (size_t)ranks);
      assert_true((owned + largest) * (size_t)ranks >= image);
    }
    sb_layout_free(&layout);
  }
}

/* What rounding leaves over does not gather: groups of a few units each, as chunks of a vocabulary
 * are, and others between them. */
static void many_groups_are_balanced_together(void **state) {
  enum { GROUPS = 300, UNITS = 12 };
  uint64_t seed = 5;
  (void)state;
  for (int round = 0; round < 100; round++) {
    static size_t sizes[GROUPS][UNITS];
    sb_store_group groups[GROUPS];
    size_t largest = 0, total = 0;
    const int ranks = 1 + (int)draw(&seed, 20);
    const size_t chunk = 1 + draw(&seed, UNITS), unit = 1 + draw(&seed, 5000);
    sb_layout layout;
    for (size_t g = 0; g < GROUPS; g++) {
      const bool like = draw(&seed, 4) > 0;
      groups[g] = (sb_store_group){like ? chunk : draw(&seed, UNITS), sizes[g]};
      for (size_t u = 0; u < groups[g].units; u++) {
        sizes[g][u] = like ? unit : draw(&seed, 5000);
        largest = sb_max_size(largest, sizes[g][u]);
        total += sizes[g][u];
      }
    }
    assert_int_equal(sb_layout_create(groups, GROUPS, ranks, &layout), SB_OK);
    sb_flaw flaw;
    assert_true(sb_layout_is_valid(&layout, &flaw));
    for (int r = 0; r < ranks; r++) {
      size_t owned = 0;
      for (size_t g = 0; g < GROUPS; g++) owned += sb_layout_owned(&layout, g, r);
      assert_true(owned * (size_t)ranks <= total + 2 * largest * (size_t)ranks);
      assert_true((owned + 2 * largest) * (size_t)ranks >= total);
    }
    sb_layout_free(&layout);
  }
}

static void sizes_that_overflow_are_refused(void **state) {
  const size_t sizes[2] = {SIZE_MAX - 5, 6}, fits[2] = {SIZE_MAX - 5, 5};
  const sb_store_group group = {2, sizes}, largest = {2, fits};
  sb_layout layout;
  (void)state;
  assert_int_equal(sb_layout_create(&group, 1, 3, &layout), SB_ERR_RANGE);
  assert_int_equal(sb_layout_create(&largest, 1, 3, &layout), SB_OK);
  assert_true(sb_layout_image(&layout, 0) == SIZE_MAX);
  sb_layout_free(&layout);
}

static void descriptions_that_differ_have_different_hashes(void **state) {
  const size_t a[3] = {10, 20, 30}, b[3] = {10, 21, 29};
  const sb_store_group groups[3] = {{3, a}, {3, b}, {3, a}};
  sb_layout one, other;
  uint64_t hash;
  (void)state;
  assert_int_equal(sb_layout_create(groups, 2, 4, &one), SB_OK);
  hash = sb_layout_hash(&one);
  assert_int_equal(sb_layout_create(groups + 1, 2, 4, &other),
                   SB_OK); /* the same groups in another order */
  assert_true(sb_layout_hash(&other) != hash);
  sb_layout_free(&other);
  assert_int_equal(sb_layout_create(groups, 2, 5, &other), SB_OK);
  assert_true(sb_layout_hash(&other) != hash);
  sb_layout_free(&other);
  assert_int_equal(sb_layout_create(groups, 2, 4, &other), SB_OK);
  assert_true(sb_layout_hash(&other) == hash);
  sb_layout_free(&other);
  sb_layout_free(&one);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(cuts_are_balanced_to_within_one_unit),
      cmocka_unit_test(many_groups_are_balanced_together),
      cmocka_unit_test(sizes_that_overflow_are_refused),
      cmocka_unit_test(descriptions_that_differ_have_different_hashes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
