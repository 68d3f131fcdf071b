#include "io/token_find.h"

#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "io/bytes.h"
#include "io/file.h"
#include "io/npy.h"
#include "io/token_formats.h"

/* ---- NumPy ---- */

static const char *kind_of(const sb_npy *array) {
  switch (array->kind) {
  case 'U':
  case 'S':
  case 'a':
    return "text; save it as a .txt or .jsonl file, which is tokenized";
  case 'O':
    return "Python objects, as lists of different lengths become; join them to one array";
  case 'f':
  case 'c':
    return "no whole numbers; save ids, as by numpy.save(name, ids.astype('uint32'))";
  default:
    return "another type; save ids, as by numpy.save(name, ids.astype('uint32'))";
  }
}

static sb_status npy_layout(int fd, const char *path, uint64_t bytes, sb_token_layout *out) {
  sb_npy array;
  SB_TRY(sb_npy_read_header(fd, path, bytes, &array));
  const size_t item = array.item_bytes;
  if ((array.kind != 'u' && array.kind != 'i') || (item != 2 && item != 4 && item != 8))
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: holds elements of type %s: %s", path, array.type,
                   kind_of(&array));
  if (array.dims != 1 && array.dims != 2)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: has %zu dimensions; tokens are read from 1 or 2 (numpy.ravel makes one)",
                   path, array.dims);
  if (array.dims == 2 && array.fortran_order)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: is in Fortran order; save numpy.ascontiguousarray of it", path);
  *out = (sb_token_layout){array.data_offset, (size_t)array.count, item, array.kind == 'i'};
  return SB_OK;
}

/* ---- raw files ---- */

/* What is seen of a raw file, as far as it decides. */
typedef struct evidence {
  bool odd16, odd32;    /* a second word of 16, of 32 bits is not 0 */
  size_t ids32, beyond; /* numbers of 32 bits; those that are not below the vocabulary */
} evidence;

static void look_at(const unsigned char *data, size_t bytes, size_t vocab, evidence *seen) {
  for (size_t at = 0; at + 4 <= bytes; at += 4) {
    const uint32_t id = sb_get_u32(data + at);
    seen->odd16 |= id >> 16 != 0;
    seen->odd32 |= at % 8 != 0 && id != 0;
    seen->beyond += id >= vocab;
    seen->ids32++;
  }
}

/* Pieces spread over the file, from its beginning to its end, until one shows that ids of the
 * natural width are the only ones. All of a small file. */
static sb_status sample(int fd, const char *path, uint64_t bytes, size_t natural, size_t vocab,
                        evidence *seen) {
  enum { PIECES = 64, PIECE = 2048 };
  unsigned char piece[PIECE];
  const uint64_t all = sb_div_up(bytes, PIECE), pieces = all < PIECES ? all : PIECES;
  *seen = (evidence){0};
  for (uint64_t i = 0; i < pieces; i++) {
    const uint64_t at = pieces == 1 ? 0 : i * (all - 1) / (pieces - 1) * PIECE;
    const size_t now = bytes - at < PIECE ? (size_t)(bytes - at) : PIECE;
    SB_TRY(sb_file_read_at(fd, path, at, piece, now));
    look_at(piece, now, vocab, seen);
    if (natural == 2 ? seen->odd16 : seen->odd32) break;
  }
  return SB_OK;
}

/* *width = the only possible one. */
static sb_status width_of(int fd, const char *path, uint64_t bytes, size_t vocab, size_t *width) {
  const size_t natural = vocab > 65536 ? 4 : 2;
  evidence seen;
  SB_TRY(sample(fd, path, bytes, natural, vocab, &seen));
  *width = natural;
  if (bytes % 8 == 0 && !seen.odd16 && !seen.odd32)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: looks like 64-bit ids (three of four 16-bit words are 0), but may be "
                   "narrower; --token-dtype i64, u32 or u16 says it",
                   path);
  if (natural == 2 && bytes % 4 == 0 && !seen.odd16)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: may hold 32-bit or 16-bit ids (every second 16-bit word is 0); "
                   "--token-dtype u32 or u16 says it",
                   path);
  if (natural == 4 && bytes % 8 == 0 && !seen.odd32)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: may hold 64-bit or 32-bit ids (every second 32-bit word is 0); "
                   "--token-dtype i64 or u32 says it",
                   path);
  if (natural == 4 && seen.beyond > seen.ids32 / 2)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: looks like 16-bit ids: %zu of %zu 32-bit ones are beyond the vocabulary of "
                   "%zu; --token-dtype u16 reads them, but no id above 65535 can be among them",
                   path, seen.beyond, seen.ids32, vocab);
  return SB_OK;
}

static sb_status raw_layout(int fd, const char *path, uint64_t bytes, sb_token_width asked,
                            size_t vocab, sb_token_layout *out) {
  const size_t natural = vocab > 65536 ? 4 : 2;
  size_t width = asked == SB_TOKENS_AUTO ? natural : sb_token_width_bytes(asked);
  if (bytes % width != 0)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: has %llu bytes, not a whole number of uint%zu tokens; it is damaged or of "
                   "another width (--token-dtype)",
                   path, (unsigned long long)bytes, 8 * width);
  if (asked == SB_TOKENS_AUTO) SB_TRY(width_of(fd, path, bytes, vocab, &width));
  *out = (sb_token_layout){0, (size_t)(bytes / width), width,
                           asked == SB_TOKENS_I32 || asked == SB_TOKENS_I64};
  return SB_OK;
}

/* ---- any file ---- */

/* A file that says itself what it holds is not read as something else. */
static sb_status agrees(const char *path, const char *says, sb_token_width asked,
                        const sb_token_layout *layout) {
  if (asked == SB_TOKENS_AUTO || sb_token_width_bytes(asked) == layout->width) return SB_OK;
  return sb_fail(SB_ERR_UNSUPPORTED,
                 "%s: --token-dtype %s, but its %s says %zu-bit ids; leave the option out", path,
                 sb_token_width_names[asked], says, 8 * layout->width);
}

static sb_status find(int fd, const char *path, uint64_t bytes, sb_token_width asked, size_t vocab,
                      sb_token_layout *out) {
  char index[SB_PATH_MAX];
  sb_file_head head = {.count = bytes < sizeof head.bytes ? (size_t)bytes : sizeof head.bytes};
  SB_TRY(sb_file_read_at(fd, path, 0, head.bytes, head.count));
  if (sb_npy_is(head.bytes, head.count)) return npy_layout(fd, path, bytes, out);
  if (sb_llmc_is(&head)) {
    SB_TRY(sb_llmc_layout(&head, path, bytes, out));
    return agrees(path, "llm.c header", asked, out);
  }
  if (sb_megatron_index(path, index)) {
    SB_TRY(sb_megatron_layout(index, path, bytes, out));
    return agrees(path, "Megatron index (.idx)", asked, out);
  }
  const bool npy = sb_text_ends(path, ".npy");
  if (npy || asked == SB_TOKENS_AUTO) SB_TRY(sb_token_refuse_foreign(&head, path, bytes));
  if (npy)
    return sb_fail(SB_ERR_FORMAT, "%s: is named .npy but does not start as a .npy file does", path);
  if (asked == SB_TOKENS_AUTO && !sb_text_ends(path, ".bin"))
    return sb_fail(
        SB_ERR_UNSUPPORTED,
        "%s: token files are .bin (raw ids) or .npy, and text .txt or .jsonl; --token-dtype says "
        "that this one holds raw ids",
        path);
  return raw_layout(fd, path, bytes, asked, vocab, out);
}

sb_status sb_token_layout_find(int fd, const char *path, uint64_t bytes, sb_token_width asked,
                               size_t vocab, sb_token_layout *out) {
  if (bytes == 0) return sb_fail(SB_ERR_FORMAT, "%s: is empty; it should hold token ids", path);
  SB_TRY(find(fd, path, bytes, asked, vocab, out));
  if (out->count == 0) return sb_fail(SB_ERR_FORMAT, "%s: holds no tokens", path);
  return SB_OK;
}
