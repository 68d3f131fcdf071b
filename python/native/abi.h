/* The C interface of the Python package: output folders, read and multiplied without MPI. A few
 * plain functions for ctypes. Tensors are named by their place in manifest.json, which Python
 * reads.
 *
 * A function that returns int returns 0, or another number where it failed; one that returns a
 * pointer then returns NULL. shardbits_error() is what went wrong in the calling thread, one line.
 * Arrays are the caller's. Functions may be called from any thread; products of one folder take
 * turns. */
#ifndef SB_PYTHON_ABI_H
#define SB_PYTHON_ABI_H

#include <stddef.h>
#include <stdint.h>

#define SHARDBITS_API __attribute__((visibility("default")))

typedef struct shardbits_folder shardbits_folder;
typedef struct shardbits_matrix shardbits_matrix;

SHARDBITS_API const char *shardbits_version(void);
SHARDBITS_API const char *shardbits_error(void);

/* Opens a folder that quantize wrote, and checks its shards against manifest.json. threads: of
 * products; 0: all cores. */
SHARDBITS_API shardbits_folder *shardbits_open(const char *path, int threads);
/* After all its matrices. NULL is allowed. */
SHARDBITS_API void shardbits_close(shardbits_folder *folder);

/* Bytes of a frame, decompressed; of all frames of a tensor. -1: it has no such frame. */
SHARDBITS_API int64_t shardbits_frame_bytes(const shardbits_folder *folder, uint32_t tensor,
                                            uint32_t row);
SHARDBITS_API int64_t shardbits_tensor_bytes(const shardbits_folder *folder, uint32_t tensor);
/* out[bytes] = a frame, checked by its checksum. */
SHARDBITS_API int shardbits_read_frame(const shardbits_folder *folder, uint32_t tensor,
                                       uint32_t row, void *out, size_t bytes);
/* out[bytes] = all frames of a tensor, one after another: the rows of one that is not quantized. */
SHARDBITS_API int shardbits_read_tensor(const shardbits_folder *folder, uint32_t tensor, void *out,
                                        size_t bytes);

/* A quantized tensor in memory, as packed as its frames. codes: the name of their kind
 * (docs/format.md); col_signs: of trellis codes. Rows and columns are in the stored order. */
SHARDBITS_API shardbits_matrix *shardbits_load(shardbits_folder *folder, uint32_t tensor,
                                               const char *codes, uint64_t col_signs);
SHARDBITS_API void shardbits_release(shardbits_matrix *matrix);
/* Bytes that its packed block rows take. */
SHARDBITS_API size_t shardbits_packed_bytes(const shardbits_matrix *matrix);
/* bits[block rows * block columns] = widths of its blocks. */
SHARDBITS_API void shardbits_widths(const shardbits_matrix *matrix, uint8_t *bits);
/* out[rows, cols] = its weights. */
SHARDBITS_API int shardbits_unpack(const shardbits_matrix *matrix, float *out);
/* y[tokens, rows] = x[tokens, cols] W'. */
SHARDBITS_API int shardbits_product(const shardbits_matrix *matrix, float *y, const float *x,
                                    size_t tokens);
/* out[count, cols] = the rows ids[count]; of codes on grids. */
SHARDBITS_API int shardbits_rows(const shardbits_matrix *matrix, float *out, const uint32_t *ids,
                                 size_t count);

#endif
