/* One of the choices that an item of a knapsack has (alloc/knapsack.h): for a block, a width. */
#ifndef SB_ALLOC_CHOICE_H
#define SB_ALLOC_CHOICE_H

#include <stdint.h>

enum { SB_CHOICES = 8 }; /* of an item, at most */

typedef struct sb_choice {
  uint64_t cost; /* bits of storage */
  double loss;   /* finite; only differences between the choices of an item matter */
} sb_choice;

#endif
