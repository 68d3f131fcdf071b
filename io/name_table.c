#include "io/name_table.h"

#include <stdint.h>
#include <string.h>
#include <xxhash.h>

#include "base/memory.h"

typedef struct sb_name_slot {
  const char *name;
  size_t number;
} slot;

sb_status sb_name_table_create(size_t names, sb_name_table *out) {
  size_t size = 16;
  while (size < 2 * names) size *= 2; /* half full at most */
  out->mask = size - 1;
  return sb_alloc(&out->slots, size, sizeof *out->slots, "table of names");
}

void sb_name_table_free(sb_name_table *table) {
  sb_free(&table->slots);
}

/* The slot of a name, or the free one where it would go. */
static slot *place(const sb_name_table *table, const char *name) {
  size_t at = (size_t)XXH3_64bits(name, strlen(name)) & table->mask;
  while (table->slots[at].name && strcmp(table->slots[at].name, name) != 0)
    at = (at + 1) & table->mask;
  return &table->slots[at];
}

size_t sb_name_table_find(const sb_name_table *table, const char *name) {
  const slot *found = table->slots ? place(table, name) : NULL;
  return found && found->name ? found->number : SIZE_MAX;
}

size_t sb_name_table_add(sb_name_table *table, const char *name, size_t number) {
  slot *at = place(table, name);
  if (!at->name) *at = (slot){name, number};
  return at->number;
}
