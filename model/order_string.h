/* The stored form of an indexed order (docs/format.md): the block that each source channel goes to,
 * ceil(log2 blocks) bits per channel, least significant bit first, padded with zeros to
 * whole bytes. Channels of a block follow in rising order, so an order that is settled
 * (sb_orders_settle) comes back as it was. All functions are local, O(n). */
#ifndef SB_MODEL_ORDER_STRING_H
#define SB_MODEL_ORDER_STRING_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Bytes for n channels in blocks of `block`. 0 for a single block: its order says nothing. */
size_t sb_order_string_bytes(size_t n, size_t block);
/* `from` is settled for blocks of `block`. Writes sb_order_string_bytes. */
void sb_order_string_pack(uint8_t *out, const uint32_t *from, size_t n, size_t block);
/* SB_ERR_FORMAT, with the block's number, where a block gets more or fewer channels than it has. */
sb_status sb_order_string_unpack(uint32_t *from, const uint8_t *string, size_t n, size_t block);

#endif
