/* The command line of one command. One table of options is its parser, its type check
 * and its --help.
 *
 * The table points at the variables it fills; their values before parsing are the defaults that
 * --help shows. Spellings: --name VALUE, --name=VALUE, -o VALUE, flags without a value; "--" ends
 * the options. If an option is given twice, the last one counts. All functions are local and give
 * the same answer on every rank. */
#ifndef SB_CLI_OPTIONS_H
#define SB_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

typedef enum sb_option_kind {
  SB_OPTION_FLAG,     /* bool: present or not */
  SB_OPTION_INT,      /* int in [low, high] */
  SB_OPTION_UNSIGNED, /* unsigned in [low, high] */
  SB_OPTION_SIZE,     /* size_t in [low, high] */
  SB_OPTION_SEED,     /* uint64_t, any */
  SB_OPTION_REAL,     /* double in [low, high], finite */
  SB_OPTION_BYTES,    /* sb_byte_size: "3.2GiB" (base/byte_size.h) */
  SB_OPTION_STRING,   /* const char *, a path, not empty; NULL by default means not given */
  SB_OPTION_CHOICE,   /* an enum whose values index `choices`: SB_OPTION_ENUM */
  SB_OPTION_SHAPE     /* size_t[2] written 128x64, each in [low, high] */
} sb_option_kind;

/* What a string names, for cli/targets.h. */
typedef enum sb_option_file {
  SB_FILE_NONE,
  SB_FILE_READ,    /* a file or folder that the run reads; so are all arguments */
  SB_FILE_TOKENS,  /* token files that the run reads (cli/token_list.h) */
  SB_FILE_WRITTEN, /* a file, written at the end */
  SB_FILE_FOUND,   /* a file that is read where it exists, and written where it does not */
  SB_FILE_KEPT,    /* a file that is read where it exists, and written again and again */
  SB_FILE_FOLDER   /* the output folder */
} sb_option_file;

typedef struct sb_option {
  const char *name; /* without the dashes */
  char letter;      /* also -o; 0 for none */
  sb_option_kind kind;
  void *value;                /* the variable, of the type that `kind` says; holds the default */
  bool *given;                /* set where the option is on the command line; may be NULL */
  double low, high;           /* inclusive range of numbers, each below 2^53 */
  const char *const *choices; /* NULL-terminated names, for SB_OPTION_CHOICE */
  const char *operand; /* the value's name in --help: "N", "FILE"; NULL: a choice shows its names */
  const char *help;    /* one sentence or two */
  const char *unset;   /* shown as default in place of the value, e.g. "all"; NULL: the value */
  const char *section; /* heading in --help; NULL: "options" */
  sb_option_file file; /* of SB_OPTION_STRING */
  bool required;
} sb_option;

/* Kind, value and choices of an option whose variable is an enum: its values count names[] from 0.
 * An enum of another size than int's, which the parser writes, does not compile. */
#define SB_OPTION_ENUM(variable, names)                                                            \
  .kind = SB_OPTION_CHOICE, .choices = (names),                                                    \
  .value = (char *)&(variable) +                                                                   \
           0 * sizeof(struct {                                                                     \
             _Static_assert(sizeof(variable) == sizeof(int), "an enum of int's size is expected"); \
             int unused;                                                                           \
           })

/* An argument without dashes. */
typedef struct sb_argument {
  const char *name; /* "MODEL" */
  const char **value;
  const char *help;
} sb_argument;

typedef struct sb_usage {
  const char *command;  /* "quantize" */
  const char *synopsis; /* "MODEL --calib TOKENS --bits B -o OUT [options]" */
  const char *purpose;  /* lines for --help */
  const char *examples; /* lines for --help, or NULL */
  const sb_argument *arguments;
  size_t argument_count;
  size_t optional_count; /* of the arguments, the last ones need not be given */
  size_t *repeats;       /* NULL; or the last argument may come several times, at most most_repeats:
                            its value[0 .. *repeats) */
  size_t most_repeats;
  const char *const *words; /* NULL-terminated, that an argument may be; NULL: it is a path */
  const sb_option *options; /* options of one section follow each other */
  size_t option_count;
  const sb_option *common; /* a second table, listed after the command's own; may be NULL */
  size_t common_count;
} sb_usage;

/* What is to be written in place of a run: the text of --help, or the same table for a shell to
 * complete command lines with (--help=bash, --help=zsh; cli/completion.h). */
typedef enum sb_help_form { SB_HELP_NONE, SB_HELP_TEXT, SB_HELP_BASH, SB_HELP_ZSH } sb_help_form;

/* What argv[1 .. argc-1] asks for. Pure. */
sb_help_form sb_options_help_form(int argc, char **argv);

/* Fills the variables from argv[1 .. argc-1]; argv[0] is the command. With --help (or -h) anywhere
 * nothing is filled and *help is true. SB_ERR_USAGE with one line that names the command, the
 * option and the values it takes. */
sb_status sb_options_parse(const sb_usage *usage, int argc, char **argv, bool *help);
/* Writes the help text. Call it before sb_options_parse has changed a variable, or after it
 * returned with *help. */
void sb_options_help(const sb_usage *usage, FILE *out);

#endif
