#include "model/family.h"

#include <string.h>

#define POINTER(name) &sb_family_##name,
const sb_family *const sb_families[] = {SB_FAMILIES(POINTER) NULL};

const sb_family *sb_family_find(const char *architecture) {
  for (size_t i = 0; sb_families[i]; i++)
    if (strcmp(sb_families[i]->architecture, architecture) == 0) return sb_families[i];
  return NULL;
}

const sb_family *sb_family_of_type(const char *model_type) {
  for (size_t i = 0; sb_families[i]; i++)
    if (strcmp(sb_families[i]->model_type, model_type) == 0) return sb_families[i];
  return NULL;
}
