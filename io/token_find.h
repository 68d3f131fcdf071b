/* Finds out how the ids lie in a token file. A width is never guessed: a raw file is read without
 * being told only where one width is possible. */
#ifndef SB_IO_TOKEN_FIND_H
#define SB_IO_TOKEN_FIND_H

#include "base/status.h"
#include "io/token_layout.h"

/* *out = the layout of the open file `fd` of `bytes` bytes, for a model of `vocab` ids (0: not
 * known).
 *
 * A file that says itself what it holds is read as it says: .npy (io/npy.h), .bin files of llm.c,
 * and .bin files of Megatron, which lie beside an index .idx (io/token_formats.h). An `asked` of
 * another width is then SB_ERR_UNSUPPORTED, but for .npy, where it is not looked at.
 *
 * Other files are raw. `asked` is their width, whatever their name. With AUTO the name must end in
 * .bin, and the width must follow from the file: 16-bit ids for a vocabulary of at most 65536, else
 * 32-bit ids. SB_ERR_UNSUPPORTED, naming --token-dtype, where a larger width is possible, too: each
 * second word is 0 among those looked at (128 KiB, spread over the file); or where 16-bit ids are
 * likelier than 32-bit ones, most of which lie beyond the vocabulary. Text and archives of other
 * programs are refused by name.
 *
 * SB_ERR_IO; SB_ERR_FORMAT (empty, damaged, no whole number of ids). Local; reads at most 128 KiB
 * beside headers, mostly 2 KiB. */
sb_status sb_token_layout_find(int fd, const char *path, uint64_t bytes, sb_token_width asked,
                               size_t vocab, sb_token_layout *out);

#endif
