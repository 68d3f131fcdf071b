/* How functions of shardbits report failure.
 *
 * A function that can fail returns an sb_status. Only the place that knows the cause calls
 * sb_fail(), which stores one line for the user (which file, which tensor, which number, what to
 * do) and returns the code. The message belongs to the calling thread and stays until its next
 * sb_fail(). Callers hand the code up:
 *
 *   SB_TRY(call)    returns from the function; for functions that hold nothing
 *   SB_GO(call)     jumps to the label `done`, where the function releases what it holds
 *   SB_THEN(call)   makes the call only while all went well; for chains whose last step, an
 *                   agreement or a release, comes in any case
 *
 * Ranks agree on a failure with sb_world_agree() (mpi/world.h, with SB_AGREE and SB_GO_AGREE). */
#ifndef SB_BASE_STATUS_H
#define SB_BASE_STATUS_H

typedef enum sb_status {
  SB_OK = 0,
  SB_ERR_USAGE,       /* the command line is wrong: exit code 2 */
  SB_ERR_IO,          /* the operating system refused: open, read, write, no space */
  SB_ERR_FORMAT,      /* a file's content contradicts its format or another file */
  SB_ERR_UNSUPPORTED, /* valid, but not something this program does */
  SB_ERR_RANGE,       /* a request outside the possible range (a budget, a token id) */
  SB_ERR_MEMORY,      /* not enough memory, host or device */
  SB_ERR_NUMERIC,     /* NaN, infinity, a matrix that is not positive definite */
  SB_ERR_MPI,         /* an MPI call failed */
  SB_ERR_ABSENT,      /* no accelerator is there, or no driver of one */
  SB_ERR_DEVICE,      /* an accelerator failed, or its software */
  SB_ERR_INTERNAL     /* a broken promise of our own: a bug */
} sb_status;

/* Stores the formatted message for the calling thread and returns `code`. The whole line is escaped
 * (sb_text_escaped), and of one longer than 500 bytes the middle is left out, so names taken from
 * files may be arguments as they are. Local. In builds
 * without NDEBUG it also stores the place of the call, which the program writes behind the message.
 */
sb_status sb_fail(sb_status code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for a failure that comes from elsewhere (another rank, another thread): `origin` is the
 * sb_origin() of that place. */
sb_status sb_fail_from(const char *origin, sb_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#ifndef NDEBUG
#define SB_ORIGIN_TEXT_(line) #line
#define SB_ORIGIN_LINE_(line) SB_ORIGIN_TEXT_(line)
#define sb_fail(...)          sb_fail_from(__FILE__ ":" SB_ORIGIN_LINE_(__LINE__), __VA_ARGS__)
#endif

/* The calling thread's last message; "" when there was none. Valid until
 * the thread's next sb_fail(). */
const char *sb_message(void);

enum { SB_ORIGIN_SIZE = 96 }; /* with the terminating zero; longer ones lose their beginning */
/* The place where that failure arose: "pass/head.c:123", or "" in builds with NDEBUG. Valid as long
 * as sb_message(). */
const char *sb_origin(void);
/* text[size] = " [pass/head.c:123]", or "" where the origin is not known; returns text. */
char *sb_origin_text(char *text, unsigned long size);

/* Exit code of the program for a status: 0 for SB_OK, 2 for SB_ERR_USAGE, 1 for the rest. */
int sb_exit_code(sb_status status);

/* Returns from the calling function with the status of `call` unless that is SB_OK. */
#define SB_TRY(call)                                                                               \
  do {                                                                                             \
    sb_status sb_try_status_ = (call);                                                             \
    if (sb_try_status_ != SB_OK) return sb_try_status_;                                            \
  } while (0)

/* The same for functions that release what they hold at the label `done`: sets the local `status`,
 * then jumps. */
#define SB_GO(call)                                                                                \
  do {                                                                                             \
    status = (call);                                                                               \
    if (status != SB_OK) goto done;                                                                \
  } while (0)

/* The next link of a chain: sets the local `status` to that of `call`, unless something before has
 * failed; then `call` is not evaluated. */
#define SB_THEN(call)                                                                              \
  do {                                                                                             \
    if (status == SB_OK) status = (call);                                                          \
  } while (0)

#endif
