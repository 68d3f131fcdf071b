#include "cli/completion.h"

#include <string.h>

static const sb_option *at(const sb_usage *u, size_t i) {
  return i < u->option_count ? &u->options[i] : &u->common[i - u->option_count];
}

static size_t total(const sb_usage *u) {
  return u->option_count + u->common_count;
}

/* ---- bash ---- */

/* The functions take the words as bash has broken them. '=' breaks words too, so --name=value is
 * three of them. */
static const char bash_end[] =
    "_shardbits() {\n"
    "  local cur=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD-1]} i pre\n"
    "  local command=${COMP_WORDS[1]} options= values= arguments=\n"
    "  COMPREPLY=()\n"
    "  if [[ $cur == = ]]; then\n"
    "    cur=\n"
    "  elif [[ $option == = ]]; then\n"
    "    option=${COMP_WORDS[COMP_CWORD-2]}\n"
    "  fi\n"
    "  if ((COMP_CWORD == 1)); then\n"
    "    values=\"$_shardbits_commands help --help --version\"\n"
    "  elif [[ $command == help ]]; then\n"
    "    values=$_shardbits_commands\n"
    "  else\n"
    "    _shardbits_command\n"
    "  fi\n"
    "  if [[ -z $values && $cur == -* ]]; then\n"
    "    for ((i = 2; i < COMP_CWORD; i++)); do\n"
    "      options=\" $options \" options=${options/ ${COMP_WORDS[i]} / }\n"
    "    done\n"
    "    values=$options\n"
    "  fi\n"
    "  case ${values:-$arguments} in\n"
    "    '') ;;\n"
    "    @none) ;;\n"
    "    @folder) compopt -o filenames 2>/dev/null\n"
    "      mapfile -t COMPREPLY < <(compgen -d -- \"$cur\") ;;\n"
    "    @file) compopt -o filenames 2>/dev/null\n"
    "      mapfile -t COMPREPLY < <(compgen -f -- \"$cur\") ;;\n"
    "    @files) compopt -o filenames -o nospace 2>/dev/null\n"
    "      pre=; [[ $cur != *,* ]] || pre=${cur%,*},\n"
    "      mapfile -t COMPREPLY < <(compgen -P \"$pre\" -f -- \"${cur##*,}\") ;;\n"
    "    *) mapfile -t COMPREPLY < <(compgen -W \"${values:-$arguments}\" -- \"$cur\") ;;\n"
    "  esac\n"
    "}\n"
    "complete -F _shardbits shardbits\n";

static void bash_words(const char *const *words, FILE *out) {
  for (size_t i = 0; words[i]; i++) fprintf(out, "%s%s", i ? " " : "", words[i]);
}

/* What the value of an option is: words, a path, or nothing that could be completed. */
static const char *bash_kind(const sb_option *o) {
  if (o->kind == SB_OPTION_CHOICE) return "";
  if (o->kind != SB_OPTION_STRING || o->file == SB_FILE_NONE) return "@none";
  if (o->file == SB_FILE_FOLDER) return "@folder";
  return o->file == SB_FILE_TOKENS ? "@files" : "@file";
}

/* A line for each option with words, and one for all options of a kind. */
static void bash_values(const sb_usage *u, FILE *out) {
  static const char *const kinds[] = {"@file", "@files", "@folder", "@none"};
  for (size_t i = 0; i < total(u); i++) {
    const sb_option *o = at(u, i);
    if (o->kind != SB_OPTION_CHOICE) continue;
    fprintf(out, "        --%s) values='", o->name);
    bash_words(o->choices, out);
    fputs("' ;;\n", out);
  }
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    const char *before = "        ";
    for (size_t i = 0; i < total(u); i++) {
      const sb_option *o = at(u, i);
      if (o->kind == SB_OPTION_FLAG || strcmp(bash_kind(o), kinds[k]) != 0) continue;
      fprintf(out, "%s--%s", before, o->name);
      before = " | ";
      if (o->letter) fprintf(out, " | -%c", o->letter);
    }
    if (before[1] == '|') fprintf(out, ") values=%s ;;\n", kinds[k]);
  }
}

static void bash_command(const sb_usage *u, FILE *out) {
  fprintf(out, "    %s)\n      options='--help", u->command);
  for (size_t i = 0; i < total(u); i++) {
    fprintf(out, " --%s", at(u, i)->name);
    if (at(u, i)->letter) fprintf(out, " -%c", at(u, i)->letter);
  }
  fputs("'\n      arguments='", out);
  if (u->words)
    bash_words(u->words, out);
  else if (u->argument_count)
    fputs("@file", out);
  fputs("'\n      case $option in\n", out);
  bash_values(u, out);
  fputs("      esac ;;\n", out);
}

/* ---- zsh ---- */

/* `text` up to its first full stop inside single quotes, where zsh reads brackets, colons and
 * backslashes as signs of its own. */
static void zsh_text(const char *text, size_t length, FILE *out) {
  for (size_t i = 0; i < length; i++) {
    if (text[i] == '\'')
      fputs("'\\''", out);
    else
      fprintf(out, "%s%c", strchr("[]:\\", text[i]) ? "\\" : "", text[i]);
  }
}

static size_t first_sentence(const char *text) {
  const char *end = strstr(text, ". ");
  const size_t length = end ? (size_t)(end - text) : strlen(text);
  return length > 0 && text[length - 1] == '.' ? length - 1 : length;
}

static void zsh_words(const char *const *words, FILE *out) {
  fputs(":(", out);
  for (size_t i = 0; words[i]; i++) fprintf(out, "%s%s", i ? " " : "", words[i]);
  fputc(')', out);
}

static void zsh_value(const sb_option *o, FILE *out) {
  const char *name = o->operand ? o->operand : o->name;
  fputc(':', out);
  zsh_text(name, strlen(name), out);
  if (o->kind == SB_OPTION_CHOICE)
    zsh_words(o->choices, out);
  else if (o->kind != SB_OPTION_STRING || o->file == SB_FILE_NONE)
    fputs(": ", out);
  else
    fputs(o->file == SB_FILE_FOLDER   ? ":_files -/"
          : o->file == SB_FILE_TOKENS ? ":_sequence _files"
                                      : ":_files",
          out);
}

/* '(-o --out)'{-o,--out=}'[what it is]:DIR:_files -/' */
static void zsh_option(const sb_option *o, FILE *out) {
  const char *equals = o->kind == SB_OPTION_FLAG ? "" : "=";
  fputs("    ", out);
  if (o->letter)
    fprintf(out, "'(-%c --%s)'{-%c,--%s%s}'[", o->letter, o->name, o->letter, o->name, equals);
  else
    fprintf(out, "'--%s%s[", o->name, equals);
  zsh_text(o->help, first_sentence(o->help), out);
  fputc(']', out);
  if (o->kind != SB_OPTION_FLAG) zsh_value(o, out);
  fputs("' \\\n", out);
}

static void zsh_command(const sb_usage *u, FILE *out) {
  fprintf(out, "_shardbits_%s() {\n  _arguments -S \\\n", u->command);
  for (size_t i = 0; i < total(u); i++) zsh_option(at(u, i), out);
  for (size_t i = 0; i < u->argument_count; i++) {
    const sb_argument *a = &u->arguments[i];
    fputs("    '", out);
    if (u->repeats && i + 1 == u->argument_count)
      fputs("*:", out);
    else
      fprintf(out, "%zu%s", i + 1, i + u->optional_count < u->argument_count ? ":" : "::");
    zsh_text(a->name, strlen(a->name), out);
    if (u->words)
      zsh_words(u->words, out);
    else
      fputs(":_files", out);
    fputs("' \\\n", out);
  }
  fputs("    '(- *)--help[how it is used]'\n}\n", out);
}

static const char zsh_end[] =
    "_shardbits() {\n"
    "  if ((CURRENT == 2)); then\n"
    "    _describe command _shardbits_commands\n"
    "    compadd -- --help --version\n"
    "    return\n"
    "  fi\n"
    "  local command=$words[2]\n"
    "  shift words\n"
    "  ((CURRENT--))\n"
    "  if [[ $command == help ]]; then\n"
    "    ((CURRENT == 2)) && _describe command _shardbits_commands\n"
    "  elif (($+functions[_shardbits_$command])); then\n"
    "    _shardbits_$command\n"
    "  fi\n"
    "}\n"
    "# Found by its name in $fpath this file is the function itself; sourced, it tells zsh of it.\n"
    "if [[ $funcstack[1] == _shardbits ]]; then\n"
    "  _shardbits \"$@\"\n"
    "else\n"
    "  compdef _shardbits shardbits\n"
    "fi\n";

/* ---- */

void sb_completion_begin(const char *const *names, const char *const *summaries, size_t count,
                         sb_help_form form, FILE *out) {
  const char *shell = form == SB_HELP_BASH ? "bash" : "zsh";
  if (form == SB_HELP_ZSH) fputs("#compdef shardbits\n", out);
  fprintf(out, "# Completion for %s, of shardbits %s, which writes this: shardbits completion %s\n",
          shell, SB_VERSION, shell);
  fprintf(out, "_shardbits_commands=%c", form == SB_HELP_BASH ? '\'' : '(');
  for (size_t i = 0; i < count; i++) {
    if (form == SB_HELP_BASH) {
      fprintf(out, "%s%s", i ? " " : "", names[i]);
      continue;
    }
    fprintf(out, "\n  '%s:", names[i]);
    zsh_text(summaries[i], strlen(summaries[i]), out);
    fputc('\'', out);
  }
  fputs(form == SB_HELP_BASH ? "'\n_shardbits_command() {\n  case $command in\n" : ")\n", out);
}

void sb_completion_or_help(const sb_usage *usage, sb_help_form form, FILE *out) {
  if (form == SB_HELP_TEXT)
    sb_options_help(usage, out);
  else
    (form == SB_HELP_BASH ? bash_command : zsh_command)(usage, out);
}

void sb_completion_end(sb_help_form form, FILE *out) {
  fputs(form == SB_HELP_BASH ? "  esac\n}\n" : "", out);
  fputs(form == SB_HELP_BASH ? bash_end : zsh_end, out);
}
