#include "tests/support/ranks.h"

#include <math.h>

#include "mpi/large.h"
#include "mpi/select.h"

typedef struct item {
  uint64_t key, id, weight;
} item;

/* The order of the header, said another way. */
static int before(const void *a, const void *b) {
  const item *x = a, *y = b;
  if (x->key != y->key) return x->key > y->key ? -1 : 1;
  return x->id < y->id ? -1 : x->id > y->id;
}

typedef enum key_kind { EQUAL, FEW, WIDE, NARROW, SCORES, EXTREMES, KEY_KINDS } key_kind;

/* Item i of an instance: the same on every rank. */
static item make_item(uint64_t seed, uint64_t i, key_kind keys, bool wide_ids, bool heavy) {
  const uint64_t h = mix(seed * 1000003 + i);
  item x = {.id = wide_ids ? i * UINT64_C(0x9e3779b97f4a7c15) + seed : i, .weight = 1 + h % 1000};
  const double score = ldexp((double)(int64_t)(h << 1) / 0x1p63, (int)(h >> 58) - 40);
  switch (keys) {
  case EQUAL:
    x.key = seed;
    break;
  case FEW:
    x.key = mix(h % 4);
    break;
  case WIDE:
    x.key = h;
    break;
  case NARROW:
    x.key = UINT64_C(0x8000000000000000) + h % 20;
    break;
  case SCORES:
    x.key = sb_select_key(h % 5 ? score : 0);
    break;
  default:
    x.key = h % 3 ? (h % 2 ? UINT64_MAX : 0) : h;
    break;
  }
  if (heavy && i % 3 == 0) x.weight = UINT64_C(1) << 40;
  return x;
}

/* By the book: all items in one place, sorted, walked. */
static sb_selection brute_force(item *items, size_t n, uint64_t budget) {
  sb_selection s = {.all = true};
  qsort(items, n, sizeof *items, before);
  for (size_t i = 0; i < n; i++) {
    if (s.taken_weight + items[i].weight > budget) {
      s.all = false;
      s.key = items[i].key;
      s.id = items[i].id;
      break;
    }
    s.taken_weight += items[i].weight;
    s.taken_count++;
  }
  return s;
}

/* The owner of item i; in some instances most ranks have nothing. */
static int owner(uint64_t seed, uint64_t i) {
  if (seed % 4 == 0) return (int)(seed / 4 % (uint64_t)world.size);
  return (int)(mix(seed + 77 * i) % (uint64_t)world.size);
}

static void check_instance(uint64_t seed, size_t n, key_kind keys, bool wide_ids, bool heavy,
                           uint64_t budget) {
  item *items;
  uint64_t *own;
  size_t mine = 0;
  sb_selection expected, got;
  uint64_t taken = 0;
  EXPECT_OK(sb_alloc(&items, n, sizeof *items, "test"));
  EXPECT_OK(sb_alloc(&own, 3 * n, sizeof *own, "test"));
  for (size_t i = 0; i < n; i++) {
    items[i] = make_item(seed, i, keys, wide_ids, heavy);
    if (owner(seed, i) != world.rank) continue;
    own[mine] = items[i].key;
    own[n + mine] = items[i].id;
    own[2 * n + mine] = items[i].weight;
    mine++;
  }
  expected = brute_force(items, n, budget);
  EXPECT_OK(sb_select_prefix(own, own + n, own + 2 * n, mine, budget, world.comm, &got));
  EXPECT(got.all == expected.all && got.key == expected.key && got.id == expected.id);
  EXPECT(got.taken_weight == expected.taken_weight && got.taken_count == expected.taken_count);
  for (size_t i = 0; i < n; i++) { /* items are sorted now */
    taken += sb_selection_takes(&got, items[i].key, items[i].id);
    EXPECT(sb_selection_takes(&got, items[i].key, items[i].id) == (i < expected.taken_count));
  }
  EXPECT(taken == got.taken_count);
  sb_free(&items);
  sb_free(&own);
}

static uint64_t total_weight(uint64_t seed, size_t n, bool heavy) {
  uint64_t total = 0;
  for (size_t i = 0; i < n; i++) total += make_item(seed, i, EQUAL, false, heavy).weight;
  return total;
}

static void random_instances(void **state) {
  uint64_t random = 5;
  (void)state;
  for (uint64_t seed = 0; seed < 300; seed++) {
    const size_t n = draw(&random, 4) == 0 ? draw(&random, 6) : draw(&random, 600);
    const bool heavy = draw(&random, 5) == 0;
    const uint64_t total = total_weight(seed, n, heavy);
    const uint64_t budget = draw(&random, total + total / 8 + 2);
    check_instance(seed, n, (key_kind)(seed % KEY_KINDS), draw(&random, 2) == 0, heavy, budget);
  }
  all_ranks_passed();
}

/* Budgets at and beside every boundary between items. */
static void every_boundary(void **state) {
  (void)state;
  for (int keys = 0; keys < KEY_KINDS; keys++) {
    uint64_t sum = 0;
    item items[23];
    for (size_t i = 0; i < 23; i++) items[i] = make_item(9, i, (key_kind)keys, false, false);
    qsort(items, 23, sizeof *items, before);
    for (size_t i = 0; i < 23; i++) {
      sum += items[i].weight;
      for (uint64_t budget = sum - 1; budget <= sum + 1; budget++)
        check_instance(9, 23, (key_kind)keys, false, false, budget);
    }
    check_instance(9, 23, (key_kind)keys, false, false, 0);
    check_instance(9, 23, (key_kind)keys, false, false, UINT64_MAX);
  }
  all_ranks_passed();
}

/* Many items of one key: only the ids decide, in several rounds. */
static void massive_ties(void **state) {
  const uint64_t total = total_weight(3, 30000, false);
  (void)state;
  check_instance(3, 30000, EQUAL, false, false, total / 2);
  check_instance(3, 30000, EQUAL, true, false, total / 3);
  check_instance(4, 30000, FEW, true, false, total / 2);
  all_ranks_passed();
}

static void nothing_to_select(void **state) {
  sb_selection s;
  (void)state;
  EXPECT_OK(sb_select_prefix(NULL, NULL, NULL, 0, 0, world.comm, &s));
  EXPECT(s.all && s.taken_count == 0 && s.taken_weight == 0);
  EXPECT(sb_selection_takes(&s, 1, 1));
  all_ranks_passed();
}

/* Totals up to 2^63 - 1 are added right; from there on, and for weights of 0, all ranks refuse. */
static void weights_at_the_limit(void **state) {
  const size_t n = world.rank == world.size - 1 ? 2 : 0;
  uint64_t keys[2] = {5, 4}, ids[2] = {0, 1}, weights[2] = {(UINT64_C(1) << 63) - 2, 1};
  sb_selection s;
  (void)state;
  EXPECT_OK(sb_select_prefix(keys, ids, weights, n, (UINT64_C(1) << 63) - 2, world.comm, &s));
  EXPECT(!s.all && s.key == 4 && s.id == 1 && s.taken_weight == weights[0]);
  weights[1] = 2;
  EXPECT(sb_select_prefix(keys, ids, weights, n, 7, world.comm, &s) == SB_ERR_INTERNAL);
  weights[1] = 0;
  EXPECT(sb_select_prefix(keys, ids, weights, n, 7, world.comm, &s) == SB_ERR_INTERNAL);
  weights[0] = weights[1] = UINT64_C(1) << 63; /* the sum of one rank wraps to 0 */
  EXPECT(sb_select_prefix(keys, ids, weights, n, 7, world.comm, &s) == SB_ERR_INTERNAL);
  all_ranks_passed();
}

static void repeated_ids_are_refused(void **state) {
  const uint64_t keys[1] = {1}, ids[1] = {6}, weights[1] = {10};
  sb_selection s;
  (void)state;
  if (world.size > 1)
    EXPECT(sb_select_prefix(keys, ids, weights, 1, 5, world.comm, &s) == SB_ERR_INTERNAL);
  all_ranks_passed();
}

static void keys_keep_the_order_of_doubles(void **state) {
  static const double ascending[] = {-INFINITY, -1e308, -1,  -0.5, -1e-300, -5e-324, 0,
                                     5e-324,    1e-300, 0.5, 1,    1e308,   INFINITY};
  (void)state;
  for (size_t i = 1; i < sizeof ascending / sizeof *ascending; i++)
    EXPECT(sb_select_key(ascending[i - 1]) < sb_select_key(ascending[i]));
  EXPECT(sb_select_key(-0.0) == sb_select_key(0.0));
  for (size_t i = 0; i < sizeof ascending / sizeof *ascending; i++)
    EXPECT(sb_select_value(sb_select_key(ascending[i])) == ascending[i]);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(random_instances),
    cmocka_unit_test(every_boundary),
    cmocka_unit_test(massive_ties),
    cmocka_unit_test(nothing_to_select),
    cmocka_unit_test(weights_at_the_limit),
    cmocka_unit_test(repeated_ids_are_refused),
    cmocka_unit_test(keys_keep_the_order_of_doubles),
};
RANKS_MAIN(tests)
