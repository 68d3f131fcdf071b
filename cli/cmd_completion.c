/* shardbits completion: the script by which a shell completes its command lines. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/completion.h"

static const char *const shells[] = {"bash", "zsh", NULL};

/* Each command writes its part in place of its help. */
static sb_status write_commands(const sb_world *world, sb_help_form form) {
  for (const sb_command *c = sb_commands; c->name; c++) {
    char asked[16], name[32], *line[] = {name, asked, NULL};
    snprintf(name, sizeof name, "%s", c->name);
    snprintf(asked, sizeof asked, "--help=%s", form == SB_HELP_BASH ? "bash" : "zsh");
    SB_TRY(c->run(world, 2, line));
  }
  return SB_OK;
}

static sb_status write(const sb_world *world, sb_help_form form) {
  const char *names[SB_COMMANDS_MAX], *summaries[SB_COMMANDS_MAX];
  size_t count = 0;
  for (const sb_command *c = sb_commands; c->name; c++) {
    names[count] = c->name;
    summaries[count++] = c->summary;
  }
  if (world->rank == 0) sb_completion_begin(names, summaries, count, form, stdout);
  SB_TRY(write_commands(world, form));
  if (world->rank == 0) sb_completion_end(form, stdout);
  return SB_OK;
}

sb_status sb_cmd_completion(const sb_world *world, int argc, char **argv) {
  const char *shell = NULL;
  const sb_argument arguments[] = {{"SHELL", &shell, "bash, from version 4 on, or zsh."}};
  const sb_usage usage = {
      .command = "completion",
      .synopsis = "SHELL",
      .purpose = "Writes a script by which the shell completes commands, options and their values.",
      .examples = "  source <(shardbits completion bash)        # in ~/.bashrc\n"
                  "  shardbits completion zsh >\"${fpath[1]}/_shardbits\"",
      .arguments = arguments,
      .argument_count = 1,
      .words = shells};
  bool help;
  /* Without the common options, whose settling asks MPI. */
  SB_TRY(sb_options_parse(&usage, argc, argv, &help));
  if (help) {
    if (world->rank == 0) sb_completion_or_help(&usage, sb_options_help_form(argc, argv), stdout);
    return SB_OK;
  }
  if (strcmp(shell, shells[0]) == 0) return write(world, SB_HELP_BASH);
  if (strcmp(shell, shells[1]) == 0) return write(world, SB_HELP_ZSH);
  return sb_fail(SB_ERR_USAGE, "completion: SHELL %.64s: bash or zsh is expected", shell);
}
