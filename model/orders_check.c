#include "model/orders_check.h"

#include <string.h>

#include "base/memory.h"
#include "model/fused.h"

static sb_status check_order(const sb_order *order, uint8_t *seen) {
  memset(seen, 0, order->size);
  for (size_t i = 0; i < order->size; i++) {
    const uint32_t channel = order->from[i];
    if (channel >= order->size)
      return sb_fail(SB_ERR_FORMAT, "%s: channel %u at position %zu, there are %zu", order->name,
                     channel, i, order->size);
    if (seen[channel]++)
      return sb_fail(SB_ERR_FORMAT, "%s: channel %u is there twice, so this is no permutation",
                     order->name, channel);
  }
  return SB_OK;
}

sb_status sb_orders_check(const sb_arch *arch, const sb_orders *orders) {
  size_t largest = 0;
  uint8_t *seen = NULL;
  sb_status status = SB_OK;
  for (size_t i = 0; i < orders->count; i++) largest = sb_max_size(largest, orders->orders[i].size);
  SB_TRY(sb_alloc_raw(&seen, largest, 1, "channels"));
  for (size_t i = 0; i < orders->count && status == SB_OK; i++)
    status = check_order(&orders->orders[i], seen);
  sb_free(&seen);
  if (status == SB_OK && orders->mode == SB_REORDER_FUSED) status = sb_fused_check(arch, orders);
  return status;
}
