#include "folders/text_tokens.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "folders/make_tokens_script.h"
#include "io/atomic.h"
#include "io/child.h"
#include "io/npy.h"
#include "io/pattern.h"
#include "mpi/large.h"

static const char *const endings[] = {".txt", ".jsonl"};

bool sb_text_is(const char *path) {
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
    if (sb_text_ends(path, endings[i])) return true;
  return false;
}

/* ---- the name of the token file ---- */

static sb_status hash_file(XXH3_state_t *hash, const char *path) {
  enum { PIECE = 1 << 20 };
  uint64_t bytes;
  char *piece;
  int fd;
  SB_TRY(sb_file_open(path, &fd, &bytes));
  sb_status status = sb_alloc_raw(&piece, PIECE, 1, "text");
  XXH3_64bits_update(hash, &bytes, sizeof bytes);
  for (uint64_t at = 0; status == SB_OK && at < bytes; at += PIECE) {
    const size_t now = sb_min_size(bytes - at, PIECE);
    status = sb_file_read_at(fd, path, at, piece, now);
    if (status == SB_OK) XXH3_64bits_update(hash, piece, now);
  }
  sb_free(&piece);
  close(fd);
  return status;
}

/* A file of the model's folder; one that is missing counts as such. */
static sb_status hash_beside(XXH3_state_t *hash, const char *folder, const char *name) {
  char path[SB_PATH_MAX];
  SB_TRY(sb_path_join(path, folder, name));
  if (access(path, F_OK) == 0) return hash_file(hash, path);
  XXH3_64bits_update(hash, "-", 1);
  return SB_OK;
}

static sb_status hash_all(XXH3_state_t *hash, const char *folder, const glob_t *texts,
                          const sb_text_setup *setup) {
  const uint64_t options[] = {setup->vocab, setup->chat_template, setup->special_tokens};
  XXH3_64bits_reset(hash);
  XXH3_64bits_update(hash, sb_make_tokens_script, strlen(sb_make_tokens_script));
  XXH3_64bits_update(hash, options, sizeof options);
  SB_TRY(hash_beside(hash, folder, "tokenizer.json"));
  if (setup->chat_template) {
    SB_TRY(hash_beside(hash, folder, "tokenizer_config.json"));
    SB_TRY(hash_beside(hash, folder, "chat_template.jinja"));
  }
  for (size_t i = 0; i < texts->gl_pathc; i++) {
    XXH3_64bits_update(hash, sb_text_ends(texts->gl_pathv[i], ".jsonl") ? "l" : "t", 1);
    SB_TRY(hash_file(hash, texts->gl_pathv[i]));
  }
  return SB_OK;
}

/* token_file = CACHE/NAME-HASH.npy; NAME is that of the text as far as it is short and plain. */
static sb_status name_of(const char *text, const char *folder, const glob_t *texts,
                         const sb_text_setup *setup, char *token_file) {
  char name[128];
  const char *slash = strrchr(text, '/'), *base = slash ? slash + 1 : text;
  XXH3_state_t *hash = XXH3_createState();
  if (!hash) return sb_fail(SB_ERR_MEMORY, "%s: not enough memory to read it", text);
  sb_status status = hash_all(hash, folder, texts, setup);
  const uint64_t key = XXH3_64bits_digest(hash);
  XXH3_freeState(hash);
  SB_TRY(status);
  const int n = snprintf(name, sizeof name, "%.*s-%016" PRIx64 ".npy", (int)strcspn(base, ".*?[\\"),
                         base, key);
  if (n < 0 || n >= (int)sizeof name) snprintf(name, sizeof name, "text-%016" PRIx64 ".npy", key);
  return sb_path_join(token_file, setup->cache, name);
}

/* ---- the script ---- */

typedef struct tokenizing {
  const char *text;
  sb_atomic_file *file;
  char error[SB_CHILD_LINE]; /* its own message, "" where it has none */
  char last[SB_CHILD_LINE];  /* other line, the last one */
  unsigned long long tokens, texts, characters;
} tokenizing;

static sb_status hear_ids(void *context, const void *ids, size_t bytes) {
  tokenizing *t = context;
  return sb_atomic_file_append(t->file, ids, bytes, 0);
}

/* What follows `word` and a space; NULL where the line begins otherwise. */
static const char *behind(const char *line, const char *word) {
  const size_t length = strlen(word);
  return strncmp(line, word, length) == 0 && line[length] == ' ' ? line + length + 1 : NULL;
}

static void hear_line(void *context, const char *line) {
  tokenizing *t = context;
  const char *rest;
  if ((rest = behind(line, "progress")))
    sb_progress_step(strtod(rest, NULL));
  else if ((rest = behind(line, "note")))
    sb_log_line("%s", rest);
  else if ((rest = behind(line, "error")))
    strcpy(t->error, rest);
  else if ((rest = behind(line, "done")))
    sscanf(rest, "%llu %llu %llu", &t->tokens, &t->texts, &t->characters);
  else
    strcpy(t->last, line);
}

static const char *python(void) {
  const char *chosen = getenv("SHARDBITS_PYTHON");
  return chosen && chosen[0] ? chosen : "python3";
}

static sb_status judge(const tokenizing *t, sb_status status, int exit_code) {
  if (status == SB_ERR_ABSENT)
    return sb_fail(
        SB_ERR_ABSENT,
        "%s: text is tokenized by Python, and there is no %.200s; install Python 3, name "
        "one by SHARDBITS_PYTHON, or give a token file (.bin or .npy)",
        t->text, python());
  SB_TRY(status);
  if (exit_code == 0 && t->tokens > 0) return SB_OK;
  if (t->error[0]) return sb_fail(SB_ERR_FORMAT, "%s", t->error);
  if (exit_code > 128)
    return sb_fail(SB_ERR_IO, "%s: %.200s was ended by signal %d while it tokenized it%s", t->text,
                   python(), exit_code - 128,
                   exit_code == 128 + 9 ? "; was there enough memory?" : "");
  return sb_fail(SB_ERR_IO, "%s: %.200s could not tokenize it: %s", t->text, python(),
                 t->last[0] ? t->last : "it ended without a word");
}

/* Runs the script on the texts; its ids go to t->file. */
static sb_status run(tokenizing *t, const char *folder, const glob_t *texts, size_t width,
                     const sb_text_setup *setup) {
  enum { OTHERS = 16 };
  char **argv, vocab[SB_TEXT_SIZE], threads[SB_TEXT_SIZE], dtype[SB_TEXT_SIZE];
  size_t n = 0;
  int exit_code;
  SB_TRY(sb_alloc(&argv, texts->gl_pathc + OTHERS, sizeof *argv, "names of texts"));
  snprintf(vocab, sizeof vocab, "%zu", setup->vocab);
  snprintf(dtype, sizeof dtype, "uint%zu", 8 * width);
  snprintf(threads, sizeof threads, "%d", setup->threads);
  setenv("RAYON_NUM_THREADS", threads, 0); /* of tokenizers */
  const char *const first[] = {
      python(),  "-c", sb_make_tokens_script, "-o", "-", "--install", "--vocab", vocab,
      "--dtype", dtype};
  for (size_t i = 0; i < sizeof first / sizeof *first; i++) argv[n++] = (char *)(uintptr_t)first[i];
  if (setup->chat_template) argv[n++] = (char *)(uintptr_t) "--chat-template";
  if (setup->special_tokens) argv[n++] = (char *)(uintptr_t) "--special-tokens";
  argv[n++] = (char *)(uintptr_t) "--";
  argv[n++] = (char *)(uintptr_t)folder;
  for (size_t i = 0; i < texts->gl_pathc; i++) argv[n++] = texts->gl_pathv[i];
  const sb_child_ears ears = {t, hear_ids, hear_line};
  sb_progress_begin("tokenize", 1.0);
  const sb_status status = sb_child_run(argv, &ears, &exit_code);
  sb_progress_end();
  sb_free(&argv);
  return judge(t, status, exit_code);
}

static sb_status make(tokenizing *t, const char *folder, const glob_t *texts,
                      const sb_text_setup *setup, const char *token_file) {
  const size_t width = setup->vocab > 65536 ? 4 : 2;
  char header[SB_NPY_HEADER] = {0}, count[SB_TEXT_SIZE];
  SB_TRY(sb_atomic_file_append(t->file, header, sizeof header, 0)); /* the count comes last */
  SB_TRY(run(t, folder, texts, width, setup));
  if (t->file->bytes != SB_NPY_HEADER + t->tokens * width)
    return sb_fail(SB_ERR_IO, "%s: %llu bytes of ids came, and %llu tokens are said to be", t->text,
                   (unsigned long long)t->file->bytes - SB_NPY_HEADER, t->tokens);
  sb_npy_header(header, width, t->tokens);
  SB_TRY(sb_file_write_at(t->file->partial.fd, t->file->path, 0, header, sizeof header, 0));
  SB_TRY(sb_atomic_file_commit(t->file));
  sb_log_line("tokens    %s: %s of %llu text%s, %.2f characters each; kept in %s", t->text,
              sb_text_count(count, sizeof count, (double)t->tokens), t->texts, sb_text_s(t->texts),
              (double)t->characters / (double)t->tokens, token_file);
  return SB_OK;
}

/* ---- rank 0 ---- */

static sb_status tokenizer_folder(const char *text, const sb_text_setup *setup, char *folder) {
  struct stat info;
  char path[SB_PATH_MAX];
  if (strlen(setup->model) >= SB_PATH_MAX)
    return sb_fail(SB_ERR_IO, "%.64s...: the name is too long", setup->model);
  if (stat(setup->model, &info) == 0 && S_ISDIR(info.st_mode))
    strcpy(folder, setup->model);
  else
    sb_path_parent(folder, setup->model);
  SB_TRY(sb_path_join(path, folder, "tokenizer.json"));
  if (access(path, F_OK) == 0) return SB_OK;
  return sb_fail(SB_ERR_FORMAT,
                 "%s: is text, and %s is not there to tokenize it; give a token file (.bin or "
                 ".npy), or let save_pretrained of transformers' AutoTokenizer write it",
                 text, path);
}

static sb_status tokenize(const char *text, const sb_text_setup *setup, const glob_t *texts,
                          char *token_file) {
  char folder[SB_PATH_MAX];
  sb_atomic_file file;
  tokenizing t = {.text = text, .file = &file};
  SB_TRY(tokenizer_folder(text, setup, folder));
  SB_TRY(name_of(text, folder, texts, setup, token_file));
  if (access(token_file, R_OK) == 0) {
    sb_log_line("tokens    %s: as tokenized before, in %s", text, token_file);
    return SB_OK;
  }
  if (mkdir(setup->cache, 0777) != 0 && errno != EEXIST)
    return sb_fail(SB_ERR_IO,
                   "%s: cannot be made for the tokens of %s (%s); choose a folder by "
                   "--token-cache",
                   setup->cache, text, strerror(errno));
  SB_TRY(sb_atomic_file_begin(token_file, &file));
  const sb_status status = make(&t, folder, texts, setup, token_file);
  sb_atomic_file_abandon(&file);
  if (status != SB_OK) (void)rmdir(setup->cache); /* where it is empty */
  return status;
}

static sb_status find_and_tokenize(const char *text, const sb_text_setup *setup, char *token_file) {
  glob_t texts = {0};
  sb_status status = sb_pattern_files(text, "text", &texts);
  SB_THEN(tokenize(text, setup, &texts, token_file));
  globfree(&texts);
  return status;
}

sb_status sb_text_tokens(const sb_world *world, const char *text, const sb_text_setup *setup,
                         char token_file[SB_PATH_MAX]) {
  sb_status status = SB_OK;
  if (world->rank == 0) status = find_and_tokenize(text, setup, token_file);
  SB_TRY(sb_world_rest(world));
  SB_AGREE(world, status);
  return sb_mpi_bcast(token_file, SB_PATH_MAX, 0, world->comm);
}
