/* JSON files whose every byte is under a checksum, for what a program writes for itself to read.
 * The last member, "checksum", is the XXH64 of the file's text with zeros in place of its 16
 * digits, so a changed byte anywhere, the checksum's own included, is found. Local. */
#ifndef SB_IO_SEAL_H
#define SB_IO_SEAL_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"

/* Sets "checksum" in the object and writes it as sb_json_write does (io/json.h). */
sb_status sb_sealed_write(const char *path, json_t *object);
/* Reads such a file. *whole: its checksum is there and right; what `out` says is to be trusted only
 * then. Otherwise as sb_json_read. */
sb_status sb_sealed_read(const char *path, json_t **out, bool *whole);

#endif
