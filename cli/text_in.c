#include "cli/text_in.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "folders/hf_path.h"
#include "folders/text_tokens.h"
#include "model/config_read.h"

/* cache = NAME.tokens beside the folder `name`, which has a name of its own. */
static sb_status cache_beside(const char *name, char cache[SB_PATH_MAX]) {
  static const char ending[] = ".tokens";
  char whole[PATH_MAX];
  size_t length = strlen(name);
  while (length > 1 && name[length - 1] == '/') length--;
  /* "." and ".." have no name beside which something could lie */
  if (length > 0 && name[length - 1] == '.') {
    if (!realpath(name, whole))
      return sb_fail(SB_ERR_IO, "%s: cannot be found: %s", name, strerror(errno));
    name = whole;
    length = strlen(name);
  }
  if (length + sizeof ending > SB_PATH_MAX)
    return sb_fail(SB_ERR_IO, "%.64s...: the name is too long", name);
  memcpy(cache, name, length);
  memcpy(cache + length, ending, sizeof ending);
  return SB_OK;
}

/* token_file = that of `text`. Collective. */
static sb_status make(const sb_world *world, const sb_common *common, const char *model,
                      const char *out, const char *text, char token_file[SB_PATH_MAX]) {
  char cache[SB_PATH_MAX];
  sb_config config = {0};
  sb_status status = sb_hf_path_check(model);
  SB_THEN(sb_config_read_stored(model, &config));
  if (!common->token_cache) SB_THEN(cache_beside(out ? out : model, cache));
  SB_AGREE(world, status);
  const sb_text_setup setup = {.model = model,
                               .cache = common->token_cache ? common->token_cache : cache,
                               .vocab = config.vocab,
                               .chat_template = common->chat_template,
                               .special_tokens = common->special_tokens,
                               .threads = common->threads};
  return sb_text_tokens(world, text, &setup, token_file);
}

/* *is: `path` is text. Options of text are of no use to tokens, and the user expects some. */
static sb_status look(const sb_common *common, const char *path, bool *is) {
  *is = common->token_width == SB_TOKENS_AUTO && sb_text_is(path);
  if (*is || !(common->chat_template || common->special_tokens)) return SB_OK;
  return sb_fail(SB_ERR_USAGE, "%s: --%s is for text (.txt or .jsonl), and this has tokens", path,
                 common->chat_template ? "chat-template" : "special-tokens");
}

sb_status sb_text_in(const sb_world *world, sb_common *common, const char *model, const char *out,
                     const char **path) {
  bool is;
  SB_TRY(look(common, *path, &is));
  if (!is) return SB_OK;
  SB_TRY(make(world, common, model, out, *path, common->token_file));
  *path = common->token_file;
  return SB_OK;
}

sb_status sb_text_in_list(const sb_world *world, const sb_common *common, const char *model,
                          const char *out, sb_token_list *list) {
  for (size_t i = 0; i < list->count; i++) {
    bool is;
    SB_TRY(look(common, list->sources[i].path, &is));
    if (!is) continue;
    SB_AGREE(world, sb_alloc(&list->made[i], SB_PATH_MAX, 1, "names of token files"));
    SB_TRY(make(world, common, model, out, list->sources[i].path, list->made[i]));
    list->sources[i].path = list->made[i];
  }
  return SB_OK;
}
