/* The kinds of linears that a model has (q_proj, up_proj, ...), in the order of their first
 * occurrence: columns of tables and pictures. Local. */
#ifndef SB_POLICY_KINDS_H
#define SB_POLICY_KINDS_H

#include "policy/linears.h"

typedef struct sb_kinds {
  size_t count;
  const char **name; /* [count] borrowed from the linears */
  size_t *of;        /* [linears] kind of each */
} sb_kinds;

/* Release with sb_kinds_free. SB_ERR_MEMORY. O(linears kinds). */
sb_status sb_kinds_create(const sb_linears *linears, sb_kinds *out);
void sb_kinds_free(sb_kinds *kinds);

#endif
