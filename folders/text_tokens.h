/* Text where tokens are expected: a token file of it, made once and kept.
 *
 * A text is a file that ends in .txt, which is one text, or in .jsonl, which has one in each line
 * (its "text", or a conversation that the model's chat template writes out). Hugging Face's
 * tokenizers encode it by the model's own tokenizer.json: in Python, by the script
 * tools/make_tokens.py, which is a part of this program. The Python is $SHARDBITS_PYTHON, else
 * python3; a package that it lacks pip installs into a folder of this program's own, where it can.
 *
 * The token file (.npy) lies in a cache folder under a name that has a hash of the text, the
 * tokenizer, the script and the options: the same text is tokenized once, a changed one anew. It
 * appears complete or not at all. */
#ifndef SB_FOLDERS_TEXT_TOKENS_H
#define SB_FOLDERS_TEXT_TOKENS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "io/file.h"
#include "mpi/world.h"

typedef struct sb_text_setup {
  const char *model; /* a folder, or the config.json beside the tokenizer */
  const char *cache; /* a folder; made where it is missing, and removed where it stays empty */
  size_t vocab;      /* ids of the model */
  bool chat_template;
  bool special_tokens; /* that the tokenizer puts around a text, as BOS */
  int threads;         /* of the tokenizer */
} sb_text_setup;

/* Whether `path` is text by its name: a file, or a pattern of glob(3). Pure. */
bool sb_text_is(const char *path);

/* token_file = the name of the token file of `text`: a file, or all that a pattern matches, in the
 * order of their names. Rank 0 makes it while the others sleep. Fails with one line where there is
 * no tokenizer.json, no Python (SB_ERR_ABSENT), no package, or a tokenizer that this vocabulary
 * cannot have; for a line of .jsonl without a text, and text that is not UTF-8 (SB_ERR_FORMAT); or
 * by SB_ERR_IO. Takes memory of some 150 times the largest .txt. Collective. */
sb_status sb_text_tokens(const sb_world *world, const char *text, const sb_text_setup *setup,
                         char token_file[SB_PATH_MAX]);

#endif
