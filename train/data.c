#include "train/data.h"

#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/memory.h"
#include "base/random.h"
#include "io/pattern.h"
#include "mpi/large.h"
#include "pass/pass.h"
#include "train/data_order.h"

enum { PIECES = 256, PIECE = 1024 }; /* of a fingerprint: pieces, tokens of each */
enum { OTHER_FILES = 512 };          /* that a process may have open beside its tokens */

/* What rank 0 tells the others of a file; its name follows in a table of names. */
typedef struct file_entry {
  sb_token_layout layout;
  size_t source;
  size_t name; /* offset in the table */
} file_entry;

struct sb_train_data {
  sb_train_data_setup setup;
  size_t files;
  file_entry *entries; /* [files] by source */
  char *names;         /* of all files, each with its NUL */
  size_t name_bytes;
  sb_tokens **tokens;                      /* [files] */
  uint64_t *first;                         /* [files] first window, counted in its source */
  size_t first_file[SB_TRAIN_SOURCES + 1]; /* of each source */
  sb_data_source sources[SB_TRAIN_SOURCES];
};

/* ---- rank 0: names and layouts ---- */

static sb_status keep_names(sb_train_data *d, const glob_t *found, const size_t *ends) {
  size_t source = 0;
  d->files = found->gl_pathc;
  for (size_t f = 0; f < d->files; f++) d->name_bytes += strlen(found->gl_pathv[f]) + 1;
  SB_TRY(sb_alloc(&d->entries, d->files, sizeof *d->entries, "token files"));
  SB_TRY(sb_alloc(&d->names, d->name_bytes, 1, "names of token files"));
  for (size_t f = 0, at = 0; f < d->files; f++) {
    while (f >= ends[source]) source++;
    d->entries[f] = (file_entry){.source = source, .name = at};
    at += (size_t)(stpcpy(d->names + at, found->gl_pathv[f]) - (d->names + at)) + 1;
  }
  return SB_OK;
}

static sb_status expand(sb_train_data *d) {
  glob_t found = {0};
  size_t ends[SB_TRAIN_SOURCES];
  sb_status status = SB_OK;
  for (size_t s = 0; status == SB_OK && s < d->setup.count; s++) {
    status = sb_pattern_files(d->setup.sources[s].path, "token file", &found);
    ends[s] = found.gl_pathc;
  }
  SB_THEN(keep_names(d, &found, ends));
  globfree(&found);
  return status;
}

static sb_status look(sb_train_data *d) {
  SB_TRY(expand(d));
  for (size_t f = 0; f < d->files; f++) {
    sb_tokens *tokens;
    SB_TRY(sb_tokens_open(d->names + d->entries[f].name, d->setup.width, d->setup.vocab, &tokens));
    d->entries[f].layout = *sb_tokens_layout(tokens);
    sb_tokens_close(&tokens);
  }
  return SB_OK;
}

/* ---- all ranks ---- */

static sb_status share_names(sb_train_data *d) {
  const sb_world *world = d->setup.world;
  uint64_t sizes[2] = {d->files, d->name_bytes};
  sb_status status = SB_OK;
  SB_TRY(sb_mpi_bcast(sizes, sizeof sizes, 0, world->comm));
  if (world->rank != 0) {
    d->files = sizes[0];
    d->name_bytes = sizes[1];
    status = sb_alloc(&d->entries, d->files, sizeof *d->entries, "token files");
    SB_THEN(sb_alloc(&d->names, d->name_bytes, 1, "names of token files"));
  }
  SB_THEN(sb_alloc(&d->tokens, d->files, sizeof(sb_tokens *), "token files"));
  SB_THEN(sb_alloc(&d->first, d->files, sizeof *d->first, "token files"));
  SB_AGREE(world, status);
  SB_TRY(sb_mpi_bcast(d->entries, d->files * sizeof *d->entries, 0, world->comm));
  return sb_mpi_bcast(d->names, d->name_bytes, 0, world->comm);
}

/* Token sets of a thousand shards are common, and so is a soft limit of 1024 open files, which a
 * process may raise. Where that fails, opening tells. */
static void allow_files(size_t count) {
  struct rlimit limit;
  const rlim_t wanted = (rlim_t)count + OTHER_FILES;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
  limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static sb_status open_files(sb_train_data *d) {
  size_t windows, source = 0;
  allow_files(d->files);
  for (size_t f = 0; f < d->files; f++) {
    const file_entry *e = &d->entries[f];
    SB_TRY(sb_tokens_open_as(d->names + e->name, &e->layout, d->setup.vocab, &d->tokens[f]));
    SB_TRY(sb_tokens_sequences(d->tokens[f], d->setup.seqlen, 0, &windows));
    for (; source <= e->source; source++) d->first_file[source] = f;
    d->first[f] = d->sources[e->source].windows;
    d->sources[e->source].windows += windows;
  }
  d->first_file[source] = d->files;
  return SB_OK;
}

/* Weights as whole numbers: of windows, or in units of 2^-40 of the largest one. */
static sb_status weigh(sb_train_data *d) {
  const sb_train_source *s = d->setup.sources;
  double largest = 0;
  for (size_t i = 0; i < d->setup.count; i++) {
    if ((s[i].weight > 0) != (s[0].weight > 0))
      return sb_fail(SB_ERR_USAGE,
                     "%s: has %s weight, unlike %s; give all token sources one, or none", s[i].path,
                     s[i].weight > 0 ? "a" : "no", s[0].path);
    largest = fmax(largest, s[i].weight);
  }
  for (size_t i = 0; i < d->setup.count; i++) {
    d->sources[i].weight = d->sources[i].windows;
    if (largest > 0)
      d->sources[i].weight = (uint64_t)fmax(1, nearbyint(s[i].weight / largest * 0x1p40));
  }
  return SB_OK;
}

sb_status sb_train_data_open(const sb_train_data_setup *setup, sb_train_data **out) {
  const sb_world *world = setup->world;
  sb_status status;
  SB_TRY(sb_world_alloc(world, out, sizeof **out, "token files"));
  (*out)->setup = *setup;
  status = sb_world_agree(world, world->rank == 0 ? look(*out) : SB_OK);
  SB_THEN(share_names(*out));
  if (status == SB_OK) status = sb_world_agree(world, open_files(*out));
  SB_THEN(weigh(*out));
  if (status != SB_OK) sb_train_data_close(out);
  return status;
}

void sb_train_data_close(sb_train_data **data) {
  sb_train_data *d = *data;
  if (!d) return;
  for (size_t f = 0; d->tokens && f < d->files; f++) sb_tokens_close(&d->tokens[f]);
  sb_free(&d->tokens);
  sb_free(&d->entries);
  sb_free(&d->names);
  sb_free(&d->first);
  sb_free(data);
}

/* The file that has window `window` of a source. */
static size_t file_of(const sb_train_data *d, size_t source, uint64_t window) {
  size_t low = d->first_file[source], high = d->first_file[source + 1];
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    if (d->first[middle] <= window)
      low = middle;
    else
      high = middle;
  }
  return low;
}

/* Where the first window of a file begins in a pass. */
static size_t beginning(const sb_train_data *d, size_t file, uint64_t pass) {
  const size_t left = sb_tokens_count(d->tokens[file]) % d->setup.seqlen;
  if (pass == 0) return 0;
  const uint64_t key = sb_mix64_with(sb_mix64_with(~d->setup.seed, file), pass);
  return (size_t)(((unsigned __int128)key * (left + 1)) >> 64);
}

/* Where a sample lies. */
typedef struct spot {
  const sb_tokens *tokens;
  size_t start;
} spot;

static spot spot_of(const sb_train_data *d, uint64_t sample) {
  const sb_data_order order = {d->setup.seed, d->setup.count, d->sources};
  const sb_data_place at = sb_data_order_at(&order, sample);
  const size_t file = file_of(d, at.source, at.window);
  return (spot){d->tokens[file], beginning(d, file, at.pass) +
                                     (size_t)(at.window - d->first[file]) * d->setup.seqlen};
}

sb_status sb_train_data_read(const sb_train_data *d, uint64_t step, uint32_t *tokens) {
  const sb_train_data_setup *s = &d->setup;
  const size_t first = (size_t)s->world->rank, ranks = (size_t)s->world->size;
  for (size_t i = first; i < s->batch; i += ranks) {
    const spot at = spot_of(d, step * s->batch + i);
    SB_TRY(sb_tokens_read(at.tokens, at.start, s->seqlen, tokens));
    tokens += s->seqlen;
  }
  for (size_t i = first; i < s->batch; i += ranks) {
    const spot at = spot_of(d, (step + 1) * s->batch + i);
    sb_tokens_expect(at.tokens, at.start, s->seqlen);
  }
  return SB_OK;
}

uint64_t sb_train_data_tokens(const sb_train_data *d) {
  uint64_t sum = 0;
  for (size_t f = 0; f < d->files; f++) sum += sb_tokens_count(d->tokens[f]);
  return sum;
}

uint64_t sb_train_data_windows(const sb_train_data *d) {
  uint64_t sum = 0;
  for (size_t s = 0; s < d->setup.count; s++) sum += d->sources[s].windows;
  return sum;
}

static sb_status hash_file(const sb_train_data *d, size_t file, uint64_t *hash) {
  const size_t tokens = sb_tokens_count(d->tokens[file]), piece = sb_min_size(tokens, PIECE),
               pieces = sb_max_size(PIECES / d->files, 2);
  uint32_t ids[PIECE];
  *hash = XXH64(&tokens, sizeof tokens, file);
  for (size_t i = 0; i < pieces; i++) {
    const size_t start = (size_t)((unsigned __int128)(tokens - piece) * i / (pieces - 1));
    SB_TRY(sb_tokens_read(d->tokens[file], start, piece, ids));
    *hash = XXH64(ids, piece * sizeof *ids, *hash);
  }
  return SB_OK;
}

sb_status sb_train_data_fingerprint(const sb_train_data *d, uint64_t *files, uint64_t *weights) {
  const sb_world *world = d->setup.world;
  sb_status status = SB_OK;
  *files = *weights = 0;
  for (size_t f = (size_t)world->rank; status == SB_OK && f < d->files; f += (size_t)world->size) {
    uint64_t hash = 0;
    status = hash_file(d, f, &hash);
    *files += hash;
  }
  SB_AGREE(world, status);
  for (size_t s = 0; s < d->setup.count; s++) {
    const uint64_t entry[2] = {d->sources[s].weight, d->first_file[s]};
    *weights = XXH64(entry, sizeof entry, *weights);
  }
  return sb_mpi_sum_u64(files, 1, world->comm);
}
