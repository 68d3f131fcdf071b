/* Random policies, to see how predictions of linears add up. */
#ifndef SB_POLICY_DRAWN_H
#define SB_POLICY_DRAWN_H

#include "base/status.h"
#include "model/precision_map.h"
#include "policy/profile_file.h"

/* *map = policy number `number` of a seed: linears in a random order get the profile's precision of
 * fewest bits until their share of the FLOPs reaches `share`, and never more; the others get the
 * one of most bits, or the high precision where the profile has only one. Numbers 0, 3, 6 ... order
 * single linears, 1, 4, 7 ... whole layers, 2, 5, 8 ... kinds of linears: policies differ as
 * people's do. SB_ERR_MEMORY. Local, equal on all ranks. */
sb_status sb_drawn_policy(const sb_profile *profile, double share, uint64_t seed, size_t number,
                          sb_precision_map *map);

#endif
