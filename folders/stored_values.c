#include "folders/stored_values.h"

#include <string.h>

#include "base/memory.h"

enum { PIECE_BYTES = 8 << 20, ROUND_PIECES = 16 };

static bool alike(const sb_tensor_info *a, const sb_tensor_info *b) {
  if (strcmp(a->type_name, b->type_name) != 0 || a->dims != b->dims || a->bytes != b->bytes)
    return false;
  for (size_t i = 0; i < a->dims && i < SB_TENSOR_MAX_DIMS; i++)
    if (a->shape[i] != b->shape[i]) return false;
  return true;
}

/* This rank's pieces among [first, end). */
static sb_status compare(const sb_world *world, const sb_safetensors *weights,
                         const sb_tensor_info *a, const sb_tensor_info *b, uint64_t first,
                         uint64_t end, char *room, int *equal) {
  for (uint64_t piece = first; *equal && piece < end; piece++) {
    if (piece % (uint64_t)world->size != (uint64_t)world->rank) continue;
    const uint64_t at = piece * PIECE_BYTES, left = a->bytes - at;
    const size_t bytes = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
    SB_TRY(sb_safetensors_read(weights, a, at, bytes, room));
    SB_TRY(sb_safetensors_read(weights, b, at, bytes, room + PIECE_BYTES));
    *equal = memcmp(room, room + PIECE_BYTES, bytes) == 0;
  }
  return SB_OK;
}

sb_status sb_stored_equal(const sb_world *world, const sb_safetensors *weights,
                          const sb_tensor_info *a, const sb_tensor_info *b, bool *equal) {
  *equal = alike(a, b);
  if (!*equal) return SB_OK;
  char *room = NULL;
  int all = 1;
  const uint64_t pieces = (a->bytes + PIECE_BYTES - 1) / PIECE_BYTES;
  uint64_t round = (uint64_t)world->size; /* the first one is short: a difference is early */
  sb_status status =
      sb_world_agree(world, sb_alloc_raw(&room, 2, PIECE_BYTES, "pieces of tensors"));
  for (uint64_t first = 0; status == SB_OK && all && first < pieces; first += round) {
    if (first > 0) round = (uint64_t)world->size * ROUND_PIECES;
    const uint64_t end = first + round < pieces ? first + round : pieces;
    int mine = 1;
    status = sb_world_agree(world, compare(world, weights, a, b, first, end, room, &mine));
    SB_THEN(sb_mpi_check(MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MIN, world->comm),
                         "comparing tensors"));
  }
  sb_free(&room);
  *equal = all == 1;
  return status;
}

sb_status sb_stored_zero(const sb_safetensors *weights, const sb_tensor_info *info, bool *zero) {
  unsigned char room[4096]; /* whole elements of 2 or 4 bytes, little-endian: the sign comes last */
  const size_t size = sb_dtype_size(info->dtype);
  *zero = true;
  for (uint64_t at = 0; *zero && at < info->bytes; at += sizeof room) {
    const uint64_t left = info->bytes - at;
    const size_t bytes = left < sizeof room ? (size_t)left : sizeof room;
    SB_TRY(sb_safetensors_read(weights, info, at, bytes, room));
    for (size_t i = 0; i < bytes; i++)
      if (room[i] != 0 && !(room[i] == 0x80 && i % size == size - 1)) *zero = false;
  }
  return SB_OK;
}
