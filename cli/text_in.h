/* Text on the command line: where an option names text (folders/text_tokens.h), the run reads the
 * token file that is made of it. Commands call this before they load a model. */
#ifndef SB_CLI_TEXT_IN_H
#define SB_CLI_TEXT_IN_H

#include "cli/common.h"
#include "cli/token_list.h"

/* Replaces *path, where it is text, by the name of its token file, which *common holds: so one text
 * a command. `model` is MODEL, a folder or a config.json, which has the tokenizer and says the
 * vocabulary. `out` is the output, NULL for a command that has none. The token file is kept in
 * --token-cache, else beside `out`, else beside `model`. A --token-dtype takes any file for tokens.
 * SB_ERR_USAGE for options of text where *path is none. Collective. */
sb_status sb_text_in(const sb_world *world, sb_common *common, const char *model, const char *out,
                     const char **path);
/* The same for each source of a list. Collective. */
sb_status sb_text_in_list(const sb_world *world, const sb_common *common, const char *model,
                          const char *out, sb_token_list *list);

#endif
