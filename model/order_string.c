#include "model/order_string.h"

#include <string.h>

#include "base/memory.h"

static unsigned bits_of(size_t n, size_t block) {
  const size_t blocks = sb_div_up(n, block);
  unsigned bits = 0;
  while (((size_t)1 << bits) < blocks) bits++;
  return bits;
}

size_t sb_order_string_bytes(size_t n, size_t block) {
  return sb_div_up(n * bits_of(n, block), 8);
}

void sb_order_string_pack(uint8_t *out, const uint32_t *from, size_t n, size_t block) {
  const unsigned bits = bits_of(n, block);
  memset(out, 0, sb_order_string_bytes(n, block));
  for (size_t i = 0; i < n; i++)
    for (unsigned k = 0; k < bits; k++) {
      const size_t at = from[i] * (size_t)bits + k;
      out[at / 8] = (uint8_t)(out[at / 8] | (i / block >> k & 1u) << at % 8);
    }
}

static size_t block_of(const uint8_t *string, size_t channel, unsigned bits) {
  size_t number = 0;
  for (unsigned k = 0; k < bits; k++) {
    const size_t at = channel * bits + k;
    number |= (size_t)(string[at / 8] >> at % 8 & 1u) << k;
  }
  return number;
}

sb_status sb_order_string_unpack(uint32_t *from, const uint8_t *string, size_t n, size_t block) {
  const size_t blocks = sb_div_up(n, block);
  const unsigned bits = bits_of(n, block);
  size_t *next = NULL;
  sb_status status = SB_OK;
  SB_TRY(sb_alloc(&next, blocks, sizeof *next, "blocks of an order"));
  for (size_t b = 0; b < blocks; b++) next[b] = b * block;
  for (size_t channel = 0; channel < n && status == SB_OK; channel++) {
    const size_t b = block_of(string, channel, bits);
    if (b >= blocks)
      status =
          sb_fail(SB_ERR_FORMAT, "channel %zu is in block %zu, there are %zu", channel, b, blocks);
    else if (next[b] == sb_min_size((b + 1) * block, n))
      status = sb_fail(SB_ERR_FORMAT, "block %zu has more than its %zu channels", b,
                       next[b] - b * block);
    else
      from[next[b]++] = (uint32_t)channel;
  }
  sb_free(&next);
  return status;
}
