/* JSON as Python's json module reads it. json.loads of Python 3.11 takes and refuses the same texts
 * as below, read from files as UTF-8, but for the byte order mark, which takes "utf-8-sig", and for
 * deep brackets. */
#include "io/json_python.h"

#include "tests/support/files.h"
#include "tests/support/scratch.h"

static sb_status parse(const char *text, json_t **out) {
  char copy[4096];
  snprintf(copy, sizeof copy, "%s", text);
  return sb_json_python_parse("x/config.json", copy, strlen(copy), out);
}

/* The object as jansson writes it, once what it cannot write is taken out. */
static void settles_to(const char *text, const char *wanted) {
  json_t *object;
  if (parse(text, &object) != SB_OK) fail_msg("%s: %s", text, sb_message());
  sb_json_python_settle(object);
  char *written = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
  if (!written) fail_msg("%s: cannot be written", text);
  assert_string_equal(written, wanted);
  free(written);
  json_decref(object);
}

static void values(void **state) {
  (void)state;
  settles_to(" { } ", "{}");
  settles_to("\xef\xbb\xbf{\"a\": [1, -2, 2.5, true, false, null, {\"b\": \"c\"}]}\r\n",
             "{\"a\":[1,-2,2.5,true,false,null,{\"b\":\"c\"}]}");
  settles_to("{\"a\": 9223372036854775807, \"b\": -9223372036854775808}",
             "{\"a\":9223372036854775807,\"b\":-9223372036854775808}");
  settles_to("{\"a\": 1000000000000000019884624838656}", "{\"a\":1e30}");
  settles_to("{\"a\": 1e-400, \"b\": 0.5E+1, \"c\": -0}", "{\"a\":0.0,\"b\":5.0,\"c\":0}");
  settles_to("{\"a\": \"\\u00e4\\u20ac\\ud83d\\ude00\\n\\\"\\\\\\/\"}",
             "{\"a\":\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\\n\\\"\\\\/\"}");
  /* What no C string can hold, and half a pair. */
  settles_to("{\"a\": \"x\\u0000y\", \"b\": \"\\ud800\", \"\\u0000\": 1}",
             "{\"a\":\"x\xef\xbf\xbdy\",\"b\":\"\xef\xbf\xbd\",\"\xef\xbf\xbd\":1}");
}

static void oddities(void **state) {
  (void)state;
  static const struct {
    const char *value, *is;
  } odd[] = {{"NaN", "NaN"},
             {"Infinity", "Infinity"},
             {"-Infinity", "-Infinity"},
             {"1e400", "Infinity"},
             {"-1e400", "-Infinity"},
             {"1, \"x\": 2", "given twice, with different values"},
             {"NaN, \"x\": 2", "given twice, with different values"}};
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    char text[100];
    json_t *object;
    snprintf(text, sizeof text, "{\"a\": [%.*s], \"x\": %s}", (int)strcspn(odd[i].value, ","),
             odd[i].value, odd[i].value);
    assert_ok(parse(text, &object));
    const json_t *value = json_object_get(object, "x");
    assert_string_equal(sb_json_python_oddity(value), odd[i].is);
    assert_false(json_is_number(value) || json_is_string(value) || json_is_null(value));
    json_decref(object);
  }
  json_t *object;
  assert_ok(parse("{\"x\": 1, \"x\": 1, \"y\": {}, \"z\": \"NaN\"}", &object));
  assert_int_equal(json_integer_value(json_object_get(object, "x")), 1);
  assert_null(sb_json_python_oddity(json_object_get(object, "y")));
  assert_null(sb_json_python_oddity(json_object_get(object, "z")));
  json_decref(object);
  settles_to("{\"a\": [NaN, 1, [Infinity]], \"b\": {\"c\": NaN, \"d\": 2}, \"e\": 1e999}",
             "{\"a\":[1,[]],\"b\":{\"d\":2}}");
  settles_to("{\"x\": 1, \"x\": 2, \"x\": 3, \"y\": 1, \"y\": {\"z\": NaN}, \"w\": 1, \"w\": NaN}",
             "{\"x\":3,\"y\":{}}");
}

static void refusals(void **state) {
  (void)state;
  static const struct {
    const char *text, *says;
  } bad[] = {{"", "line 1, column 1"},
             {"[1]", "not an object"},
             {"{\"a\": 1,}", "line 1, column 9"},
             {"{\n\"a\": 1\n\"b\": 2}", "line 3, column 1"},
             {"{\"a\" 1}", "no :"},
             {"{\"a\": 01}", "no number"},
             {"{\"a\": 1.}", "no number"},
             {"{\"a\": .5}", "no value"},
             {"{\"a\": +1}", "no value"},
             {"{\"a\": 1e}", "no number"},
             {"{\"a\": nan}", "no value"},
             {"{\"a\": -NaN}", "no number"},
             {"{\"a\": 0x10}", "no , or }"},
             {"{\"a\": \"b}", "does not end"},
             {"{\"a\": \"b\nc\"}", "control character"},
             {"{\"a\": \"\\x\"}", "escape"},
             {"{\"a\": \"\\u12\"}", "escape"},
             {"{\"a\": \"\xff\"}", "UTF-8"},
             {"{\"a\": \"\xed\xa0\x80\"}", "UTF-8"},
             {"{\"a\": \"\xc3", "UTF-8"},
             {"{\"a\": 1} x", "follows"},
             {"{a: 1}", "no \"key\""},
             {"{\"a\": [1", "no , or ]"},
             {"{\"a\": tru}", "no value"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    json_t *object;
    assert_fails(parse(bad[i].text, &object), SB_ERR_FORMAT, "x/config.json", bad[i].says);
    assert_null(object);
  }
  char deep[4096];
  json_t *object;
  snprintf(deep, sizeof deep, "{\"a\":");
  memset(deep + 5, '[', 2000);
  deep[2005] = '\0';
  assert_fails(parse(deep, &object), SB_ERR_FORMAT, "too many brackets");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(values), cmocka_unit_test(oddities),
                                     cmocka_unit_test(refusals)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
