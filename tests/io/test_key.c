/* Keys of checkpoints: what differs is told from either side, numbers as people write them, and
 * hashes not at all. */
#include "io/key.h"

#include "tests/support/assertions.h"

static const char *told(const sb_key *key, json_t *object) {
  return sb_key_compare(key, object, "f", "a state", "stop") == SB_OK ? "equal" : sb_message();
}

static void check(const sb_key *here, const sb_key *there, const char *expected) {
  json_t *object = sb_key_json(there);
  assert_non_null(object);
  assert_string_equal(told(here, object), expected);
  json_decref(object);
}

static void from_either_side(void **state) {
  sb_key plain = {0}, more = {0}, none = {0};
  (void)state;
  sb_key_add(&plain, "batch", "--batch", "%d", 4);
  more = none = plain;
  sb_key_add(&more, "adapt", "--adapt", "%d", 2);
  sb_key_add(&none, "adapt", "--adapt", SB_KEY_NONE);
  check(&more, &more, "equal");
  check(&plain, &none, "equal");
  check(&none, &plain, "equal");
  check(&none, &more, "f: a state with another --adapt: 2 there, none here; stop");
  check(&more, &none, "f: a state with another --adapt: none there, 2 here; stop");
  check(&more, &plain, "f: a state with another --adapt: none there, 2 here; stop");
  check(&plain, &more, "f: a state with another adapt: 2 there, none here; stop");
  assert_string_equal(told(&plain, NULL), "f: damaged: it has no key");
}

static void kinds(void **state) {
  sb_key old = {0}, same = {0}, other = {0};
  (void)state;
  sb_key_add(&old, "lr", "--lr", "%.17g", 3e-4);
  sb_key_add_real(&same, "lr", "--lr", 3e-4);
  sb_key_add_real(&other, "lr", "--lr", 0.001);
  check(&same, &old, "equal"); /* 0.00029999999999999997 is the same number */
  check(&other, &old, "f: a state with another --lr: 0.0003 there, 0.001 here; stop");
  old = same = (sb_key){0};
  sb_key_add_hash(&old, "tokens", "set of tokens", 0x10e4);
  sb_key_add_hash(&same, "tokens", "set of tokens", 0x100e3); /* as decimals, the same number */
  check(&same, &old, "f: a state with another set of tokens; stop");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(from_either_side), cmocka_unit_test(kinds)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
