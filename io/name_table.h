/* Numbers by name, in a table of fixed room: one step a look-up, whatever its size. Local. Names
 * are borrowed. */
#ifndef SB_IO_NAME_TABLE_H
#define SB_IO_NAME_TABLE_H

#include <stddef.h>

#include "base/status.h"

typedef struct sb_name_table {
  struct sb_name_slot *slots; /* NULL name: free */
  size_t mask;
} sb_name_table;

/* Room for `names` of them. Release with sb_name_table_free. SB_ERR_MEMORY. */
sb_status sb_name_table_create(size_t names, sb_name_table *out);
void sb_name_table_free(sb_name_table *table);

/* The number of a name; SIZE_MAX where it has none, also in a table that was never created. */
size_t sb_name_table_find(const sb_name_table *table, const char *name);
/* Gives a name its number, unless it has one: returns the one it has then. */
size_t sb_name_table_add(sb_name_table *table, const char *name, size_t number);

#endif
