#include "folders/stored_names.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* The prefix of a stored name that ends in `tail`, as a whole word; false where it does not. */
static bool prefix_of(const char *stored, const char *tail, size_t *length) {
  if (!sb_text_ends(stored, tail)) return false;
  *length = strlen(stored) - strlen(tail);
  return *length == 0 || stored[*length - 1] == '.';
}

/* A tensor that every model of the family has: the first of layer 0, without the first word. */
static sb_status probe(const sb_family *family, const sb_config *config, size_t word, char *out) {
  sb_layer_tensor spec;
  if (!family->tensor(config, 0, 0, &spec))
    return sb_fail(SB_ERR_INTERNAL, "%s: a layer without tensors", family->architecture);
  snprintf(out, SB_STORED_NAME, "%s.0.%s", family->layers + word,
           spec.is_matrix ? spec.matrix.name : spec.vector.name);
  return SB_OK;
}

static sb_status find_base(const sb_safetensors *weights, const char *path, const char *own,
                           const char *tail, sb_stored_names *out) {
  const char *found = NULL;
  char name[SB_STORED_NAME];
  size_t length, kept = 0;
  snprintf(out->base, sizeof out->base, "%s", own);
  snprintf(name, sizeof name, "%.63s%.400s", own, tail);
  if (sb_safetensors_find(weights, name)) return SB_OK;
  for (size_t i = 0; i < sb_safetensors_count(weights); i++) {
    const char *stored = sb_safetensors_at(weights, i)->name;
    if (!prefix_of(stored, tail, &length) || length >= sizeof out->base / 2) continue;
    if (found && (length != kept || strncmp(found, stored, length) != 0))
      return sb_fail(SB_ERR_FORMAT,
                     "%s: holds several models, by %.80s and %.80s; leave the one that is meant",
                     path, found, stored);
    found = stored;
    kept = length;
  }
  if (found) snprintf(out->base, sizeof out->base, "%.*s", (int)kept, found);
  return SB_OK;
}

/* The head lies beside the first word, or behind it. */
static void find_head(const sb_family *family, const sb_safetensors *weights, const char *own,
                      sb_stored_names *out) {
  const size_t base = strlen(out->base), word = strlen(own);
  const int outside =
      base >= word && strcmp(out->base + base - word, own) == 0 ? (int)(base - word) : (int)base;
  char names[3][SB_STORED_NAME];
  snprintf(names[0], sizeof names[0], "%s", family->head);
  snprintf(names[1], sizeof names[1], "%.*s%s", outside, out->base, family->head);
  snprintf(names[2], sizeof names[2], "%.255s%s", out->base, family->head);
  out->head[0] = '\0';
  for (int i = 0; i < 3 && !out->head[0]; i++)
    if (sb_safetensors_find(weights, names[i]))
      snprintf(out->head, sizeof out->head, "%.511s", names[i]);
}

sb_status sb_stored_names_find(const sb_family *family, const sb_config *config,
                               const sb_safetensors *weights, const char *path,
                               sb_stored_names *out) {
  char tail[SB_STORED_NAME];
  const char *point = strchr(family->layers, '.');
  const size_t word = point ? (size_t)(point - family->layers) + 1 : 0;
  *out = (sb_stored_names){.own = ""};
  snprintf(out->own, sizeof out->own, "%.*s", (int)word, family->layers);
  SB_TRY(probe(family, config, word, tail));
  SB_TRY(find_base(weights, path, out->own, tail, out));
  find_head(family, weights, out->own, out);
  return SB_OK;
}

const char *sb_stored_name(const sb_stored_names *names, const char *name, char *out) {
  const size_t word = strlen(names->own);
  const bool under = word > 0 && strncmp(name, names->own, word) == 0;
  snprintf(out, SB_STORED_NAME, "%s%s", under ? names->base : "", name + (under ? word : 0));
  return out;
}
