/* Little-endian integers in byte buffers, whatever the host's order. Local. */
#ifndef SB_IO_BYTES_H
#define SB_IO_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void sb_put_u32(void *at, uint32_t value) {
  value = htole32(value);
  memcpy(at, &value, sizeof value);
}
static inline void sb_put_u64(void *at, uint64_t value) {
  value = htole64(value);
  memcpy(at, &value, sizeof value);
}
static inline uint16_t sb_get_u16(const void *at) {
  uint16_t value;
  memcpy(&value, at, sizeof value);
  return le16toh(value);
}
static inline uint32_t sb_get_u32(const void *at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return le32toh(value);
}
static inline uint64_t sb_get_u64(const void *at) {
  uint64_t value;
  memcpy(&value, at, sizeof value);
  return le64toh(value);
}

#endif
