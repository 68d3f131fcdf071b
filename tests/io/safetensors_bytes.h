/* safetensors files from header text and data, written byte by byte as the format says. */
#ifndef SB_TESTS_IO_SAFETENSORS_BYTES_H
#define SB_TESTS_IO_SAFETENSORS_BYTES_H

#include "tests/support/files.h"
#include "tests/support/scratch.h"

static inline void put_safetensors_length(const char *path, uint64_t claimed, const char *header,
                                          const void *data, size_t bytes) {
  size_t length = strlen(header);
  unsigned char *image = malloc(8 + length + bytes + 1);
  assert_non_null(image);
  for (int i = 0; i < 8; i++) image[i] = (unsigned char)(claimed >> (8 * i));
  memcpy(image + 8, header, length);
  if (bytes) memcpy(image + 8 + length, data, bytes);
  put_file(path, image, 8 + length + bytes);
  free(image);
}

static inline void put_safetensors(const char *path, const char *header, const void *data,
                                   size_t bytes) {
  put_safetensors_length(path, strlen(header), header, data, bytes);
}

#endif
