/* The commands of the program. Each parses its command line (argv[0] is its name), does its work,
 * prints, and returns the status that all ranks agree on. Collective over the world. No algorithm
 * lives in cli/: a command reads options, calls the rooms below, and prints. */
#ifndef SB_CLI_COMMANDS_H
#define SB_CLI_COMMANDS_H

#include "base/status.h"
#include "mpi/world.h"

typedef sb_status sb_command_run(const sb_world *world, int argc, char **argv);

sb_command_run sb_cmd_inspect;
sb_command_run sb_cmd_plan;
sb_command_run sb_cmd_quantize;
sb_command_run sb_cmd_eval;
sb_command_run sb_cmd_verify;
sb_command_run sb_cmd_export;
sb_command_run sb_cmd_reorder;
sb_command_run sb_cmd_synth;
sb_command_run sb_cmd_bench;
sb_command_run sb_cmd_train;
sb_command_run sb_cmd_doctor;
sb_command_run sb_cmd_profile;
sb_command_run sb_cmd_policy;
sb_command_run sb_cmd_report;
sb_command_run sb_cmd_completion;

/* A command: its name, and its line in `shardbits --help`. */
typedef struct sb_command {
  const char *name, *summary;
  sb_command_run *run;
} sb_command;

enum { SB_COMMANDS_MAX = 32 };
/* All of them, in the order of that list; one without a name behind the last. */
extern const sb_command sb_commands[];

#endif
