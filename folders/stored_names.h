/* Under which names a folder stores the tensors of a family. Most use the family's own; base models
 * leave its first word out ("layers.0..." for "model.layers.0..."), and wrappers put words before
 * it
 * ("language_model.model.layers.0..."). Local. */
#ifndef SB_FOLDERS_STORED_NAMES_H
#define SB_FOLDERS_STORED_NAMES_H

#include "base/status.h"
#include "io/safetensors.h"
#include "model/arch.h"

enum { SB_STORED_NAME = 512 };

typedef struct sb_stored_names {
  char own[64];              /* the family's first word, with its point: "model." */
  char base[SB_STORED_NAME]; /* what stands in its place: "", "language_model.model." */
  char head[SB_STORED_NAME]; /* name of the LM head; "" where none is stored */
} sb_stored_names;

/* Finds the names. The family's own are taken where layer 0 has them; else the one prefix under
 * which it is stored. SB_ERR_FORMAT, naming `path`, where there are several. O(tensors). */
sb_status sb_stored_names_find(const sb_family *family, const sb_config *config,
                               const sb_safetensors *weights, const char *path,
                               sb_stored_names *out);

/* out[SB_STORED_NAME] = the stored name of the family's `name`, which is not the LM head's; returns
 * it. Pure. */
const char *sb_stored_name(const sb_stored_names *names, const char *name, char *out);

#endif
