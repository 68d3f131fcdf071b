#include "folders/companions.h"

#include <stddef.h>
#include <unistd.h>

#include "io/file.h"

static const char *const names[] = {"config.json",
                                    "generation_config.json",
                                    "tokenizer.json",
                                    "tokenizer_config.json",
                                    "special_tokens_map.json",
                                    "tokenizer.model",
                                    "vocab.json",
                                    "merges.txt",
                                    "chat_template.jinja"};
enum { NAMES = sizeof names / sizeof *names };

sb_status sb_companions_copy(const char *source, const char *folder) {
  for (size_t i = 0; i < NAMES; i++) {
    char from[SB_PATH_MAX], to[SB_PATH_MAX];
    SB_TRY(sb_path_join(from, source, names[i]));
    SB_TRY(sb_path_join(to, folder, names[i]));
    if (access(from, F_OK) == 0) SB_TRY(sb_copy_file(from, to));
  }
  return SB_OK;
}
