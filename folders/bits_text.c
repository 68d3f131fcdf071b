#include "folders/bits_text.h"

#include <string.h>

#include "base/limits.h"

void sb_bits_text_write(char *text, const uint8_t *bits, size_t count) {
  for (size_t k = 0; k < count; k++) text[k] = (char)('0' + bits[k]);
  text[count] = 0;
}

sb_status sb_bits_text_read(const char *where, const char *text, size_t count, uint8_t *bits) {
  const size_t given = text ? strlen(text) : 0;
  if (given != count)
    return sb_fail(SB_ERR_FORMAT, "%s: has %zu bits, its %zu blocks need one each", where, given,
                   count);
  for (size_t k = 0; k < count; k++) {
    if (text[k] < '0' || !sb_limit_allows(&sb_limit_bits, (uint64_t)(text[k] - '0')))
      return sb_fail(SB_ERR_FORMAT, "%s: block %zu has '%c' bits, possible are %d to %d", where, k,
                     text[k], (int)sb_limit_bits.least, (int)sb_limit_bits.most);
    bits[k] = (uint8_t)(text[k] - '0');
  }
  return SB_OK;
}
