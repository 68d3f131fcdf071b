#include "io/token_formats.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"
#include "io/bytes.h"
#include "io/file.h"

/* ---- llm.c ---- */

enum { LLMC_HEADER = 1024, LLMC_FIRST = 20240326, LLMC_LAST = 20240928 };

static const struct {
  uint32_t magic, version;
  size_t width;
} llmc_tables[] = {{20240520, 1, 2}, {20240801, 7, 4}};
enum { LLMC_TABLES = sizeof llmc_tables / sizeof *llmc_tables };

static size_t llmc_table(uint32_t magic) {
  size_t i = 0;
  while (i < LLMC_TABLES && llmc_tables[i].magic != magic) i++;
  return i;
}

/* Magics of llm.c are dates. Behind magic, version and few sizes its headers are 0, as no raw ids
 * are. */
bool sb_llmc_is(const sb_file_head *head) {
  if (head->count < LLMC_HEADER) return false;
  const uint32_t magic = sb_get_u32(head->bytes);
  if (magic < LLMC_FIRST || magic > LLMC_LAST) return false;
  for (size_t i = LLMC_HEADER / 2; i < LLMC_HEADER; i++)
    if (head->bytes[i] != 0) return false;
  return true;
}

sb_status sb_llmc_layout(const sb_file_head *head, const char *path, uint64_t bytes,
                         sb_token_layout *out) {
  const uint32_t magic = sb_get_u32(head->bytes), version = sb_get_u32(head->bytes + 4),
                 count = sb_get_u32(head->bytes + 8);
  const size_t i = llmc_table(magic);
  if (i == LLMC_TABLES || llmc_tables[i].version != version)
    return sb_fail(
        SB_ERR_UNSUPPORTED,
        "%s: is an llm.c file of magic %u, version %u; its token files 20240520 (version "
        "1) and 20240801 (version 7) are read",
        path, magic, version);
  *out = (sb_token_layout){LLMC_HEADER, count, llmc_tables[i].width, false};
  if (bytes != LLMC_HEADER + (uint64_t)count * out->width)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: its llm.c header says %u uint%zu tokens, %llu bytes follow it; the file is "
                   "damaged",
                   path, count, 8 * out->width, (unsigned long long)bytes - LLMC_HEADER);
  return SB_OK;
}

/* ---- Megatron ---- */

static const char megatron_magic[] = "MMIDIDX\0"; /* nine bytes with the terminating zero */
enum { MEGATRON_HEADER = 34 };

/* Elements by their code in the index. */
static const struct {
  const char *name;
  size_t width; /* 0: no ids */
  bool is_signed;
} megatron_types[] = {{"code 0", 0, false}, {"uint8", 0, false},  {"int8", 0, false},
                      {"int16", 2, true},   {"int32", 4, true},   {"int64", 8, true},
                      {"float", 0, false},  {"double", 0, false}, {"uint16", 2, false}};
enum { MEGATRON_TYPES = sizeof megatron_types / sizeof *megatron_types };

bool sb_megatron_index(const char *path, char *index) {
  const size_t length = strlen(path);
  unsigned char start[sizeof megatron_magic];
  struct stat info;
  uint64_t bytes;
  int fd = -1;
  if (length >= SB_PATH_MAX || !sb_text_ends(path, ".bin")) return false;
  memcpy(index, path, length - 3);
  memcpy(index + length - 3, "idx", 4);
  if (stat(index, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size < MEGATRON_HEADER)
    return false;
  if (sb_file_open(index, &fd, &bytes) != SB_OK) return false;
  const bool is = sb_file_read_at(fd, index, 0, start, sizeof start) == SB_OK &&
                  memcmp(start, megatron_magic, sizeof start) == 0;
  close(fd);
  return is;
}

/* *end = the bytes of the .bin file that the index describes: the place of the last sequence and
 * its length. */
static sb_status megatron_end(int fd, const char *index, uint64_t index_bytes, size_t width,
                              uint64_t *end) {
  unsigned char header[MEGATRON_HEADER], last[12];
  SB_TRY(sb_file_read_at(fd, index, 0, header, sizeof header));
  const uint64_t sequences = sb_get_u64(header + 18);
  *end = 0;
  if (sequences > (index_bytes - MEGATRON_HEADER) / 12)
    return sb_fail(SB_ERR_FORMAT, "%s: is damaged: it has %llu sequences in %llu bytes", index,
                   (unsigned long long)sequences, (unsigned long long)index_bytes);
  if (sequences == 0) return SB_OK;
  const uint64_t places = MEGATRON_HEADER + 4 * sequences;
  SB_TRY(sb_file_read_at(fd, index, places - 4, last, 4));
  SB_TRY(sb_file_read_at(fd, index, places + 8 * (sequences - 1), last + 4, 8));
  *end = sb_get_u64(last + 4) + (uint64_t)sb_get_u32(last) * width;
  return SB_OK;
}

static sb_status read_megatron(int fd, const char *index, uint64_t index_bytes, const char *path,
                               uint64_t bytes, sb_token_layout *out) {
  unsigned char code;
  uint64_t end;
  SB_TRY(sb_file_read_at(fd, index, 17, &code, 1));
  const size_t width = code < MEGATRON_TYPES ? megatron_types[code].width : 0;
  if (width == 0)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: its index %s says elements of type %s; int16, uint16, int32 and int64 are "
                   "read as ids",
                   path, index, code < MEGATRON_TYPES ? megatron_types[code].name : "unknown");
  SB_TRY(megatron_end(fd, index, index_bytes, width, &end));
  if (end != bytes)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: has %llu bytes, its index %s describes %llu; copy both again, or remove an "
                   "index of another file",
                   path, (unsigned long long)bytes, index, (unsigned long long)end);
  *out = (sb_token_layout){0, (size_t)(bytes / width), width, megatron_types[code].is_signed};
  return SB_OK;
}

sb_status sb_megatron_layout(const char *index, const char *path, uint64_t bytes,
                             sb_token_layout *out) {
  uint64_t index_bytes;
  int fd;
  SB_TRY(sb_file_open(index, &fd, &index_bytes));
  const sb_status status = read_megatron(fd, index, index_bytes, path, bytes, out);
  close(fd);
  return status;
}

/* ---- what is no token file ---- */

static const struct {
  const char *start;
  size_t count;
  const char *is, *way;
} foreign[] = {
    {"PK\3\4", 4, "a zip archive, as numpy.savez (.npz) and torch.save write",
     "save one array with numpy.save"},
    {"\x1f\x8b\x08", 3, "compressed by gzip", "unpack it"},
    {"\x28\xb5\x2f\xfd", 4, "compressed by zstd", "unpack it"},
    {"PAR1", 4, "a Parquet table", "save its column of ids with numpy.save"},
    {"ARROW1\0\0", 8, "an Arrow file", "save its column of ids with numpy.save"},
    {"\x89HDF\r\n\x1a\n", 8, "an HDF5 file", "save its ids with numpy.save"},
    {megatron_magic, sizeof megatron_magic, "the index of a Megatron data set",
     "give the .bin file beside it"},
    {"TNTIDX\0\0", 8, "the index of a Megatron or fairseq data set of an old kind",
     "give the .bin file with --token-dtype"},
};

/* Protocols 4 and 5: a frame, whose size follows. */
static bool is_pickle(const sb_file_head *head, uint64_t bytes) {
  const unsigned char *b = head->bytes;
  return head->count >= 11 && b[0] == 0x80 && (b[1] == 4 || b[1] == 5) && b[2] == 0x95 &&
         sb_get_u64(b + 3) < bytes;
}

/* Ids have control characters among their bytes: of 128 ids of 16 bits, fewer than one list in
 * 10^16 has none, even if they are drawn from the whole vocabulary. */
static bool is_text(const sb_file_head *head) {
  enum { ENOUGH = 256 };
  if (head->count < ENOUGH) return false;
  for (size_t i = 0; i < head->count; i++) {
    const unsigned char c = head->bytes[i];
    if (c == 0x7f || (c < ' ' && c != '\t' && c != '\n' && c != '\r')) return false;
  }
  return true;
}

sb_status sb_token_refuse_foreign(const sb_file_head *head, const char *path, uint64_t bytes) {
  for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
    if (head->count >= foreign[i].count &&
        memcmp(head->bytes, foreign[i].start, foreign[i].count) == 0)
      return sb_fail(SB_ERR_UNSUPPORTED, "%s: is %s, no file of token ids; %s", path, foreign[i].is,
                     foreign[i].way);
  if (is_pickle(head, bytes))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: is a Python pickle, no file of token ids; save the ids with numpy.save",
                   path);
  if (is_text(head))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: looks like text, no file of token ids; name it .txt or .jsonl, and it is "
                   "tokenized (--token-dtype takes it for ids all the same)",
                   path);
  return SB_OK;
}
