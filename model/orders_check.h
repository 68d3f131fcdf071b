/* Checks of orders of channels. Local. */
#ifndef SB_MODEL_ORDERS_CHECK_H
#define SB_MODEL_ORDERS_CHECK_H

#include "model/orders.h"

/* Every order is a permutation, and in fused mode one that leaves the function as it is.
 * SB_ERR_FORMAT, with the order's name. O(channels). */
sb_status sb_orders_check(const sb_arch *arch, const sb_orders *orders);

#endif
