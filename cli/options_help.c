/* The --help text of a command, from its table. */
#include <inttypes.h>
#include <string.h>

#include "cli/options.h"

enum { LEFT = 26, RIGHT = 78 };

/* The rest of the line from column LEFT, broken at words before column RIGHT. */
static void wrapped(FILE *out, const char *text) {
  size_t column = LEFT;
  while (*text) {
    size_t word = strcspn(text, " ");
    if (column > LEFT && column + word > RIGHT) {
      fprintf(out, "\n%*s", LEFT, "");
      column = LEFT;
    }
    fprintf(out, "%.*s", (int)word, text);
    text += word;
    column += word;
    if (*text == ' ') {
      text++;
      column++;
      if (*text && column + strcspn(text, " ") <= RIGHT) fputc(' ', out);
    }
  }
  fputc('\n', out);
}

static void default_of(const sb_option *o, char *text, size_t size) {
  const size_t *shape = o->value;
  int index;
  text[0] = 0;
  if (o->unset) {
    snprintf(text, size, "%s", o->unset);
    return;
  }
  switch (o->kind) {
  case SB_OPTION_FLAG:
  case SB_OPTION_BYTES: /* none is given */
    break;
  case SB_OPTION_INT:
    snprintf(text, size, "%d", *(const int *)o->value);
    break;
  case SB_OPTION_UNSIGNED:
    snprintf(text, size, "%u", *(const unsigned *)o->value);
    break;
  case SB_OPTION_SIZE:
    snprintf(text, size, "%zu", shape[0]);
    break;
  case SB_OPTION_SEED:
    snprintf(text, size, "%" PRIu64, *(const uint64_t *)o->value);
    break;
  case SB_OPTION_REAL:
    snprintf(text, size, "%g", *(const double *)o->value);
    break;
  case SB_OPTION_CHOICE:
    memcpy(&index, o->value, sizeof index);
    snprintf(text, size, "%s", o->choices[index]);
    break;
  case SB_OPTION_SHAPE:
    snprintf(text, size, "%zux%zu", shape[0], shape[1]);
    break;
  case SB_OPTION_STRING:
    if (*(const char *const *)o->value) snprintf(text, size, "%s", *(const char *const *)o->value);
    break;
  }
}

/* "red|green" where a choice has no operand of its own. */
static size_t append_operand(const sb_option *o, char *left, size_t size, size_t n) {
  if (o->kind == SB_OPTION_FLAG || n >= size) return n;
  if (o->operand || o->kind != SB_OPTION_CHOICE)
    return n + (size_t)snprintf(left + n, size - n, " %s", o->operand ? o->operand : "VALUE");
  for (int i = 0; o->choices[i] && n < size; i++)
    n += (size_t)snprintf(left + n, size - n, "%c%s", i ? '|' : ' ', o->choices[i]);
  return n;
}

static void option_line(FILE *out, const sb_option *o) {
  char left[128], text[640], value[128];
  size_t n = 0;
  if (o->letter)
    n = (size_t)snprintf(left, sizeof left, "  -%c, --%s", o->letter, o->name);
  else
    n = (size_t)snprintf(left, sizeof left, "  --%s", o->name);
  append_operand(o, left, sizeof left, n);
  default_of(o, value, sizeof value);
  n = (size_t)snprintf(text, sizeof text, "%s", o->help);
  if (o->kind == SB_OPTION_CHOICE && o->operand) {
    for (int i = 0; o->choices[i] && n < sizeof text; i++)
      n +=
          (size_t)snprintf(text + n, sizeof text - n, "%s%s", i ? ", " : " One of ", o->choices[i]);
    if (n < sizeof text) n += (size_t)snprintf(text + n, sizeof text - n, ".");
  }
  if (o->required && n < sizeof text)
    snprintf(text + n, sizeof text - n, " [required]");
  else if (value[0] && n < sizeof text)
    snprintf(text + n, sizeof text - n, " [%s]", value);
  if (strlen(left) < LEFT - 1)
    fprintf(out, "%-*s", LEFT, left);
  else
    fprintf(out, "%s\n%*s", left, LEFT, "");
  wrapped(out, text);
}

void sb_options_help(const sb_usage *u, FILE *out) {
  fprintf(out, "usage: shardbits %s %s\n\n%s\n", u->command, u->synopsis, u->purpose);
  if (u->argument_count) fputc('\n', out);
  for (size_t i = 0; i < u->argument_count; i++) {
    fprintf(out, "  %-*s", LEFT - 2, u->arguments[i].name);
    wrapped(out, u->arguments[i].help);
  }
  const char *section = NULL;
  for (size_t i = 0; i < u->option_count; i++) {
    const char *here = u->options[i].section ? u->options[i].section : "options";
    if (!section || strcmp(section, here) != 0) fprintf(out, "\n%s:\n", here);
    section = here;
    option_line(out, &u->options[i]);
  }
  fputs(u->option_count && u->common_count ? "\ncommon options:\n" : "\noptions:\n", out);
  for (size_t i = 0; i < u->common_count; i++) option_line(out, &u->common[i]);
  fprintf(out, "  %-*sThis text.\n", LEFT - 2, "--help");
  if (u->examples) fprintf(out, "\nexamples:\n%s\n", u->examples);
}
