/* Changes of inputs that know a little of JSON: what libFuzzer's byte-wise changes seldom hit. */
#include <ctype.h>
#include <string.h>

#include "tests/fuzz/target.h"
#include "tests/support/random.h"

/* Values at which readers of sizes, offsets and rates go wrong. */
static const char *const values[] = {"0",
                                     "1",
                                     "-1",
                                     "2",
                                     "7",
                                     "8",
                                     "9",
                                     "15",
                                     "255",
                                     "256",
                                     "1024",
                                     "65535",
                                     "65536",
                                     "1e3",
                                     "2147483647",
                                     "2147483648",
                                     "4294967295",
                                     "4294967296",
                                     "1048577",
                                     "0.5",
                                     "1e308",
                                     "1e-320",
                                     "-0.0",
                                     "9007199254740993",
                                     "4611686018427387904",
                                     "9223372036854775807",
                                     "null",
                                     "true",
                                     "\"\"",
                                     "\"1\"",
                                     "[]",
                                     "{}",
                                     "NaN",
                                     "18446744073709551616"};
enum { VALUES = sizeof values / sizeof *values };

/* data[at, at + out) becomes `text`; returns the new size, or the old one where there is no room.
 */
static size_t splice(uint8_t *data, size_t bytes, size_t limit, size_t at, size_t out,
                     const void *text, size_t in) {
  if (bytes - out + in > limit) return bytes;
  memmove(data + at + in, data + at + out, bytes - at - out);
  memcpy(data + at, text, in);
  return bytes - out + in;
}

/* Where a token of letters, digits, '.', '+' and '-' that contains `at` begins and ends. */
static bool in_token(uint8_t byte) {
  return isalnum(byte) || byte == '+' || byte == '-' || byte == '.' || byte == '_';
}
static size_t token_begin(const uint8_t *data, size_t at) {
  while (at > 0 && in_token(data[at - 1])) at--;
  return at;
}
static size_t token_end(const uint8_t *data, size_t bytes, size_t at) {
  while (at < bytes && in_token(data[at])) at++;
  return at;
}

static size_t change_number(uint8_t *data, size_t bytes, size_t limit, uint64_t *random) {
  const size_t from = draw(random, bytes);
  for (size_t i = 0; i < bytes; i++) {
    const size_t at = (from + i) % bytes;
    if (!isdigit(data[at])) continue;
    const size_t begin = token_begin(data, at), end = token_end(data, bytes, at);
    const char *value = values[draw(random, VALUES)];
    return splice(data, bytes, limit, begin, end - begin, value, strlen(value));
  }
  return bytes;
}

/* The first comma from a random place on; `bytes` where there is none behind it. */
static size_t some_comma(const uint8_t *data, size_t bytes, uint64_t *random) {
  size_t at = draw(random, bytes);
  while (at < bytes && data[at] != ',') at++;
  return at;
}

/* Where the piece that begins with the comma `at` ends: before the next comma or closing bracket of
 * the same depth. */
static size_t piece_end(const uint8_t *data, size_t bytes, size_t at) {
  size_t depth = 0;
  for (at++; at < bytes; at++) {
    if (data[at] == '[' || data[at] == '{') depth++;
    if (depth == 0 && strchr(",]}", data[at]) && data[at]) return at;
    if (data[at] == ']' || data[at] == '}') depth--;
  }
  return bytes;
}

/* A member or an element goes, or comes a second time: behind itself or anywhere. */
static size_t change_member(uint8_t *data, size_t bytes, size_t limit, uint64_t *random) {
  uint8_t piece[1024];
  const size_t begin = some_comma(data, bytes, random);
  if (begin == bytes) return bytes;
  const size_t end = piece_end(data, bytes, begin), length = end - begin;
  if (length > sizeof piece || draw(random, 2))
    return splice(data, bytes, limit, begin, length, "", 0);
  memcpy(piece, data + begin, length);
  const size_t to = draw(random, 3) ? end : some_comma(data, bytes, random);
  return splice(data, bytes, limit, to, 0, piece, length);
}

static size_t change_bytes(uint8_t *data, size_t bytes, size_t limit, uint64_t *random) {
  const size_t head = bytes < 16 ? bytes : 16; /* where inputs have modes, sizes and changes */
  const size_t at = draw(random, draw(random, 3) ? bytes : head), length = 1 + draw(random, 8);
  uint8_t noise[8];
  for (size_t i = 0; i < sizeof noise; i++) noise[i] = (uint8_t)draw(random, 256);
  switch (draw(random, 6)) {
  case 0:
    data[at] ^= (uint8_t)(1u << draw(random, 8));
    return bytes;
  case 1:
    data[at] = draw(random, 2) ? 0xff : 0;
    return bytes;
  case 2:
    data[at] = noise[0];
    return bytes;
  case 3:
    return splice(data, bytes, limit, at, 0, noise, length);
  case 4:
    return splice(data, bytes, limit, at, length < bytes - at ? length : bytes - at, "", 0);
  default:
    return draw(random, 8) ? bytes : at; /* cut off */
  }
}

size_t fuzz_change(uint8_t *data, size_t bytes, size_t limit, uint64_t *random) {
  if (bytes == 0) {
    data[0] = (uint8_t)draw(random, 256);
    return limit > 0;
  }
  const size_t choice = draw(random, 8);
  if (choice < 3) return change_number(data, bytes, limit, random);
  if (choice < 5) return change_member(data, bytes, limit, random);
  return change_bytes(data, bytes, limit, random);
}
