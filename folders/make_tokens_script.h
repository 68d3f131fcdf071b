/* tools/make_tokens.py as text; folders/CMakeLists.txt puts it in. */
#ifndef SB_FOLDERS_MAKE_TOKENS_SCRIPT_H
#define SB_FOLDERS_MAKE_TOKENS_SCRIPT_H

extern const char sb_make_tokens_script[];

#endif
