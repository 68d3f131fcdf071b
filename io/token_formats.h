/* Files of tokens, and files that are taken for them, which say themselves what they are: llm.c's
 * .bin, Megatron's .bin with its index .idx, and what other programs write. All functions are
 * local. */
#ifndef SB_IO_TOKEN_FORMATS_H
#define SB_IO_TOKEN_FORMATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "io/token_layout.h"

/* The beginning of a file. */
typedef struct sb_file_head {
  unsigned char bytes[2048];
  size_t count;
} sb_file_head;

/* The tables of llm.c's dev/data: a header of 256 int32 (magic, version, number of tokens), then
 * uint16 ids (magic 20240520, version 1) or uint32 ids (magic 20240801, version 7). */
bool sb_llmc_is(const sb_file_head *head);
/* SB_ERR_FORMAT where the file has another size than the header says; SB_ERR_UNSUPPORTED for
 * another version, and for the other files of llm.c. */
sb_status sb_llmc_layout(const sb_file_head *head, const char *path, uint64_t bytes,
                         sb_token_layout *out);

/* index = the name of the Megatron index (magic MMIDIDX) that lies beside NAME.bin: NAME.idx. False
 * where there is none. index has SB_PATH_MAX bytes. */
bool sb_megatron_index(const char *path, char *index);
/* The ids of all documents, in the order of the file. SB_ERR_FORMAT where the index describes
 * another number of bytes; SB_ERR_UNSUPPORTED for elements that are no ids. */
sb_status sb_megatron_layout(const char *index, const char *path, uint64_t bytes,
                             sb_token_layout *out);

/* SB_ERR_UNSUPPORTED, with what the file is and what would do, where it begins as an archive,
 * compressed data, a table, a pickle, an index of Megatron or a text does. */
sb_status sb_token_refuse_foreign(const sb_file_head *head, const char *path, uint64_t bytes);

#endif
