/* shardbits COMMAND ...: starts MPI, finds the command, runs it on all ranks, and turns
 * its status into one line and an exit code: 0 for success, 2 for a wrong command line,
 * 1 for everything else. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/trace.h"
#include "cli/commands.h"
#include "cli/follow.h"
#include "cli/nearest.h"
#include "cli/observe.h"
#include "cli/options.h"
#include "mpi/launcher.h"

static void print_overview(FILE *out) {
  fprintf(out,
          "shardbits %s: the best bit allocation for a language model, on any number of ranks\n\n"
          "usage: shardbits COMMAND ...\n"
          "       mpirun -n RANKS shardbits COMMAND ...\n\ncommands:\n",
          SB_VERSION);
  for (const sb_command *c = sb_commands; c->name; c++)
    fprintf(out, "  %-10s %s\n", c->name, c->summary);
  fprintf(
      out,
      "\nshardbits COMMAND --help explains one. Models are Hugging Face folders of the Llama "
      "family.\n\n"
      "environment:\n"
      "  OMP_NUM_THREADS           threads of each rank, unless --threads says otherwise\n"
      "  OMP_WAIT_POLICY           passive where cores are shared with other work: there threads "
      "must not spin\n"
      "  SHARDBITS_LOG             info; debug[:RANKS] for lines of developers, RANKS all or as "
      "in 0,4-7\n"
      "  SHARDBITS_TRACE           file that tells what each rank did and waited for "
      "(ui.perfetto.dev opens it)\n"
      "  SHARDBITS_PYTHON          Python that tokenizes text, instead of python3\n"
      "  SHARDBITS_ALONE           1: processes of one launcher are runs of their own, on purpose\n"
      "  SHARDBITS_RANKS_PER_NODE  for tests: ranks that count as a node\n");
}

static sb_command_run *find_command(const char *name) {
  for (const sb_command *c = sb_commands; c->name; c++)
    if (strcmp(c->name, name) == 0) return c->run;
  return NULL;
}

static sb_status unknown_command(const char *name) {
  const char *names[SB_COMMANDS_MAX];
  size_t count = 0;
  for (const sb_command *c = sb_commands; c->name; c++) names[count++] = c->name;
  const char *near = sb_nearest(name, names, count);
  if (near) return sb_fail(SB_ERR_USAGE, "unknown command %.64s; did you mean %s?", name, near);
  return sb_fail(SB_ERR_USAGE, "unknown command %.64s (shardbits --help lists them)", name);
}

static sb_status run(const sb_world *world, int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : NULL;
  if (!name) return sb_fail(SB_ERR_USAGE, "no command given (shardbits --help lists them)");
  if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
    if (world->rank == 0) printf("shardbits %s\n", SB_VERSION);
    return SB_OK;
  }
  if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ||
      (strcmp(name, "help") == 0 && argc == 2)) {
    if (world->rank == 0) print_overview(stdout);
    return SB_OK;
  }
  bool help = strcmp(name, "help") == 0;
  if (help) name = argv[2];
  sb_command_run *command = find_command(name);
  if (!command) return unknown_command(name);
  if (help) {
    char option[] = "--help", *line[] = {argv[2], option, NULL};
    return command(world, 2, line);
  }
  return command(world, argc - 1, argv + 1);
}

/* Results that did not reach their reader are a failure: a full disk behind "> file". */
static sb_status flush_results(void) {
  if (fflush(stdout) == 0 && !ferror(stdout)) return SB_OK;
  return sb_fail(SB_ERR_IO, "stdout: the results could not be written: %s", strerror(errno));
}

/* What fails when the output is in its place (its report, a trace) must not pass for a failed run.
 */
static void print_failure(const sb_world *world) {
  char origin[SB_ORIGIN_SIZE + 4];
  if (world->rank == 0)
    fprintf(stderr, "shardbits: %s%s%s\n", sb_message(), sb_cleanup_completed(),
            sb_origin_text(origin, sizeof origin));
}

/* Runs the command, with its log and trace (cli/observe.h). Collective. */
static sb_status run_observed(const sb_world *world, int argc, char **argv) {
  sb_observer observer;
  sb_status status = sb_observe_begin(world, argc, argv, &observer);
  if (status == SB_OK) {
    SB_SPAN(SB_TRACE_PHASE, "shardbits", SB_TRACE_NONE);
    status = sb_world_agree(world, run(world, argc, argv));
    sb_cleanup_now();
    SB_THEN(sb_world_agree(world, flush_results()));
    sb_follow_end(status);
  }
  if (status != SB_OK) print_failure(world);
  const sb_status written = sb_observe_end(world, &observer);
  if (written != SB_OK) print_failure(world);
  return status == SB_OK ? written : status;
}

/* Help, version and completions are asked for where a shell starts, on login nodes, and where
 * packages are built: MPI may not start there. Ranks of a launcher must join it. */
static bool needs_no_mpi(int argc, char **argv) {
  static const char *const asking[] = {"completion", "version", "--version", "help"};
  if (argc < 2 || sb_launcher_read().said) return false;
  for (size_t i = 0; i < sizeof asking / sizeof *asking; i++)
    if (strcmp(argv[1], asking[i]) == 0) return true;
  return sb_options_help_form(argc, argv) != SB_HELP_NONE;
}

static int run_alone(int argc, char **argv) {
  const sb_world world = {.size = 1, .node_size = 1, .nodes = 1};
  sb_status status = run(&world, argc, argv);
  SB_THEN(flush_results());
  if (status != SB_OK) print_failure(&world);
  return sb_exit_code(status);
}

int main(int argc, char **argv) {
  sb_world world;
  if (needs_no_mpi(argc, argv)) return run_alone(argc, argv);
  sb_status status = sb_world_init(&argc, &argv, &world);
  if (status != SB_OK) {
    print_failure(&world);
    sb_world_finalize(&world);
    return sb_exit_code(status);
  }
  status = sb_cleanup_install(world.rank, "nothing was written");
  if (status == SB_OK)
    status = run_observed(&world, argc, argv);
  else
    print_failure(&world);
  /* All is said and removed. When the first rank leaves with an error, mpirun ends
   * the others by SIGTERM. */
  signal(SIGTERM, SIG_IGN);
  signal(SIGINT, SIG_IGN);
  sb_world_finalize(&world);
  return sb_exit_code(status);
}
