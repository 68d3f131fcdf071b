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

/* A piece between two commas goes, or comes a second time, behind itself or anywhere. */
static size_t change_member(uint8_t *data, size_t bytes, size_t limit, uint64_t *random) {
  size_t begin = draw(random, bytes), end;
  while (begin < bytes && data[begin] != ',') begin++;
  if (begin == bytes) return bytes;
  for (end = begin + 1; end < bytes && data[end] != ','; end++) continue;
  uint8_t piece[256];
  const size_t length = end - begin < sizeof piece ? end - begin : sizeof piece;
  memcpy(piece, data + begin, length);
  if (draw(random, 2)) return splice(data, bytes, limit, begin, end - begin, "", 0);
  return splice(data, bytes, limit, draw(random, 4) ? end : draw(random, bytes), 0, piece, length);
}

static size_t change_bytes(uint8_t *data, size_t bytes, size_t limit, uint64_t *random) {
  const size_t at = draw(random, bytes), length = 1 + draw(random, 8);
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
  const size_t choice = draw(random, 4);
  if (choice == 0) return change_number(data, bytes, limit, random);
  if (choice == 1) return change_member(data, bytes, limit, random);
  return change_bytes(data, bytes, limit, random);
}
