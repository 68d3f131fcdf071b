#include "cli/options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/byte_size.h"
#include "base/text.h"
#include "cli/nearest.h"

enum { MAX_OPTIONS = 128 };

static size_t total(const sb_usage *u) {
  return u->option_count + u->common_count;
}

static const sb_option *at(const sb_usage *u, size_t i) {
  return i < u->option_count ? &u->options[i] : &u->common[i - u->option_count];
}

static bool whole_number(const char *text, uint64_t *out) {
  char *end;
  if (text[0] < '0' || text[0] > '9') return false;
  errno = 0;
  *out = strtoull(text, &end, 10);
  return errno == 0 && *end == 0;
}

static sb_status bad_number(const sb_usage *u, const sb_option *o, const char *text,
                            const char *what) {
  char low[SB_TEXT_SIZE], high[SB_TEXT_SIZE];
  return sb_fail(SB_ERR_USAGE, "%s: --%s %.64s: %s from %s to %s is expected", u->command, o->name,
                 text, what, sb_text_real(low, sizeof low, o->low),
                 sb_text_real(high, sizeof high, o->high));
}

static sb_status set_whole(const sb_usage *u, const sb_option *o, const char *text) {
  bool negative = o->kind == SB_OPTION_INT && text[0] == '-';
  uint64_t number;
  if (!whole_number(text + negative, &number) || number >= UINT64_C(1) << 53)
    return bad_number(u, o, text, "a whole number");
  double value = negative ? -(double)number : (double)number;
  if (value < o->low || value > o->high) return bad_number(u, o, text, "a whole number");
  if (o->kind == SB_OPTION_INT)
    *(int *)o->value = (int)value;
  else if (o->kind == SB_OPTION_UNSIGNED)
    *(unsigned *)o->value = (unsigned)number;
  else
    *(size_t *)o->value = (size_t)number;
  return SB_OK;
}

static sb_status set_real(const sb_usage *u, const sb_option *o, const char *text) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end != 0 || !isfinite(value) || value < o->low || value > o->high)
    return bad_number(u, o, text, "a number");
  *(double *)o->value = value;
  return SB_OK;
}

static sb_status set_seed(const sb_usage *u, const sb_option *o, const char *text) {
  if (!whole_number(text, o->value))
    return sb_fail(SB_ERR_USAGE, "%s: --%s %.64s: a whole number below 2^64 is expected",
                   u->command, o->name, text);
  return SB_OK;
}

static sb_status set_bytes(const sb_usage *u, const sb_option *o, const char *text) {
  if (sb_byte_size_read(text, o->value)) return SB_OK;
  return sb_fail(SB_ERR_USAGE,
                 "%s: --%s %.64s: a size with its unit is expected, as 3.2GiB (GiB, GB, MiB or MB)",
                 u->command, o->name, text);
}

static sb_status set_choice(const sb_usage *u, const sb_option *o, const char *text) {
  char list[256] = "";
  size_t n = 0;
  for (int i = 0; o->choices[i]; i++) {
    if (strcmp(o->choices[i], text) == 0) {
      memcpy(o->value, &i, sizeof i); /* an enum, signed or not */
      return SB_OK;
    }
    if (n < sizeof list)
      n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", o->choices[i]);
  }
  return sb_fail(SB_ERR_USAGE, "%s: --%s %.64s: expected one of %s", u->command, o->name, text,
                 list);
}

static sb_status set_shape(const sb_usage *u, const sb_option *o, const char *text) {
  char rows[32];
  const char *cross = strchr(text, 'x');
  uint64_t r, c;
  if (!cross || (size_t)(cross - text) >= sizeof rows) goto bad;
  memcpy(rows, text, (size_t)(cross - text));
  rows[cross - text] = 0;
  if (!whole_number(rows, &r) || !whole_number(cross + 1, &c)) goto bad;
  if ((double)r < o->low || (double)r > o->high || (double)c < o->low || (double)c > o->high)
    goto bad;
  ((size_t *)o->value)[0] = (size_t)r;
  ((size_t *)o->value)[1] = (size_t)c;
  return SB_OK;
bad:
  return sb_fail(
      SB_ERR_USAGE,
      "%s: --%s %.64s: expected ROWSxCOLS, each from %.17g to %.17g, for example 128x128",
      u->command, o->name, text, o->low, o->high);
}

static sb_status set(const sb_usage *u, const sb_option *o, const char *text) {
  switch (o->kind) {
  case SB_OPTION_FLAG:
    *(bool *)o->value = true;
    return SB_OK;
  case SB_OPTION_INT:
  case SB_OPTION_UNSIGNED:
  case SB_OPTION_SIZE:
    return set_whole(u, o, text);
  case SB_OPTION_SEED:
    return set_seed(u, o, text);
  case SB_OPTION_REAL:
    return set_real(u, o, text);
  case SB_OPTION_BYTES:
    return set_bytes(u, o, text);
  case SB_OPTION_CHOICE:
    return set_choice(u, o, text);
  case SB_OPTION_SHAPE:
    return set_shape(u, o, text);
  case SB_OPTION_STRING:
    if (!text[0]) return sb_fail(SB_ERR_USAGE, "%s: --%s: the value is empty", u->command, o->name);
    *(const char **)o->value = text;
    return SB_OK;
  }
  return SB_OK;
}

/* The option that argument `text` names; *value is what follows '=', or NULL. */
static sb_status find(const sb_usage *u, const char *text, size_t *index, const char **value) {
  *value = NULL;
  if (text[1] != '-') {
    for (size_t i = 0; i < total(u); i++)
      if (at(u, i)->letter == text[1] && text[2] == 0) {
        *index = i;
        return SB_OK;
      }
    return sb_fail(SB_ERR_USAGE, "%s: unknown option %.64s (shardbits %s --help lists them)",
                   u->command, text, u->command);
  }
  const char *name = text + 2, *equals = strchr(name, '=');
  size_t length = equals ? (size_t)(equals - name) : strlen(name);
  const char *names[MAX_OPTIONS];
  size_t known = 0;
  if (equals) *value = equals + 1;
  for (size_t i = 0; i < total(u); i++) {
    const char *candidate = at(u, i)->name;
    if (strlen(candidate) == length && memcmp(candidate, name, length) == 0) {
      *index = i;
      return SB_OK;
    }
    if (known < MAX_OPTIONS) names[known++] = candidate;
  }
  char typed[64];
  snprintf(typed, sizeof typed, "%.*s", (int)(length < 60 ? length : 60), name);
  const char *near = sb_nearest(typed, names, known);
  if (near)
    return sb_fail(SB_ERR_USAGE, "%s: unknown option --%s; did you mean --%s?", u->command, typed,
                   near);
  return sb_fail(SB_ERR_USAGE, "%s: unknown option --%s (shardbits %s --help lists them)",
                 u->command, typed, u->command);
}

sb_help_form sb_options_help_form(int argc, char **argv) {
  static const struct {
    const char *text;
    sb_help_form form;
  } forms[] = {{"--help", SB_HELP_TEXT},
               {"-h", SB_HELP_TEXT},
               {"--help=bash", SB_HELP_BASH},
               {"--help=zsh", SB_HELP_ZSH}};
  for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++)
      if (strcmp(argv[i], forms[f].text) == 0) return forms[f].form;
  return SB_HELP_NONE;
}

static sb_status check_complete(const sb_usage *u, size_t given, const bool *seen) {
  if (given + u->optional_count < u->argument_count)
    return sb_fail(SB_ERR_USAGE, "%s: %s is missing; usage: shardbits %s %s", u->command,
                   u->arguments[given].name, u->command, u->synopsis);
  for (size_t i = 0; i < total(u); i++)
    if (at(u, i)->required && !seen[i])
      return sb_fail(SB_ERR_USAGE, "%s: --%s %s is missing; usage: shardbits %s %s", u->command,
                     at(u, i)->name, at(u, i)->operand, u->command, u->synopsis);
  return SB_OK;
}

/* `given` counts arguments of the table: one that comes several times counts once. */
static sb_status take_argument(const sb_usage *u, const char *text, size_t *given) {
  const bool last = u->repeats && *given + 1 >= u->argument_count,
             again = *given == u->argument_count;
  if (last && *u->repeats == u->most_repeats)
    return sb_fail(SB_ERR_USAGE, "%s: %s comes more than %zu times", u->command,
                   u->arguments[u->argument_count - 1].name, u->most_repeats);
  if (again && !last)
    return sb_fail(SB_ERR_USAGE, "%s: unexpected argument %.128s; usage: shardbits %s %s",
                   u->command, text, u->command, u->synopsis);
  const sb_argument *a = &u->arguments[again ? *given - 1 : *given];
  if (!text[0]) return sb_fail(SB_ERR_USAGE, "%s: %s is empty", u->command, a->name);
  a->value[last ? (*u->repeats)++ : 0] = text;
  *given += !again;
  return SB_OK;
}

sb_status sb_options_parse(const sb_usage *u, int argc, char **argv, bool *help) {
  bool seen[MAX_OPTIONS] = {false}, only_arguments = false;
  size_t given = 0;
  *help = sb_options_help_form(argc, argv) != SB_HELP_NONE;
  if (*help) return SB_OK;
  if (total(u) > MAX_OPTIONS)
    return sb_fail(SB_ERR_INTERNAL, "%s: more than %d options", u->command, MAX_OPTIONS);
  for (int i = 1; i < argc; i++) {
    if (!only_arguments && strcmp(argv[i], "--") == 0) {
      only_arguments = true;
    } else if (only_arguments || argv[i][0] != '-' || argv[i][1] == 0) {
      SB_TRY(take_argument(u, argv[i], &given));
    } else {
      size_t index = 0;
      const char *value;
      SB_TRY(find(u, argv[i], &index, &value));
      const sb_option *o = at(u, index);
      if (o->kind == SB_OPTION_FLAG && value)
        return sb_fail(SB_ERR_USAGE, "%s: --%s takes no value", u->command, o->name);
      if (o->kind != SB_OPTION_FLAG && !value) {
        if (i + 1 == argc)
          return sb_fail(SB_ERR_USAGE, "%s: --%s needs a value (%s)", u->command, o->name,
                         o->operand ? o->operand : "VALUE");
        value = argv[++i];
      }
      SB_TRY(set(u, o, value));
      seen[index] = true;
      if (o->given) *o->given = true;
    }
  }
  return check_complete(u, given, seen);
}
