#include "cli/precision_list.h"

#include <stdio.h>
#include <string.h>

static sb_status unknown(const char *option, const char *word, bool high) {
  char possible[128] = "";
  for (int p = high ? 0 : 1; p < SB_PRECISION_COUNT; p++) {
    const size_t at = strlen(possible);
    snprintf(possible + at, sizeof possible - at, at ? ", %s" : "%s", sb_precision_names[p]);
  }
  return sb_fail(SB_ERR_USAGE, "%s: \"%.40s\" is none of %s", option, word, possible);
}

static sb_status add(const char *option, const char *word, bool high, sb_precision_list *out) {
  sb_precision precision;
  if (!sb_precision_parse(word, &precision) || (precision == SB_PRECISION_HIGH && !high))
    return unknown(option, word, high);
  for (size_t i = 0; i < out->count; i++)
    if (out->of[i] == precision)
      return sb_fail(SB_ERR_USAGE, "%s: %s is given twice", option, sb_precision_names[precision]);
  out->of[out->count++] = precision;
  return SB_OK;
}

sb_status sb_precision_list_parse(const char *option, const char *text, bool high,
                                  sb_precision_list *out) {
  *out = (sb_precision_list){0};
  for (;;) {
    char word[48];
    const size_t length = strcspn(text, ",");
    snprintf(word, sizeof word, "%.*s", (int)(length < sizeof word ? length : sizeof word), text);
    SB_TRY(add(option, word, high, out));
    if (text[length] == 0) return SB_OK;
    text += length + 1;
  }
}
