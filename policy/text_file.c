#include "policy/text_file.h"

#include <stdlib.h>

#include "io/atomic.h"

sb_status sb_text_file_begin(sb_text_file *file) {
  *file = (sb_text_file){0};
  file->out = open_memstream(&file->text, &file->bytes);
  return file->out ? SB_OK : sb_fail(SB_ERR_MEMORY, "no memory for a text to be written");
}

sb_status sb_text_file_end(sb_text_file *file, const char *path) {
  const int failed = ferror(file->out) | fclose(file->out);
  const sb_status status = failed ? sb_fail(SB_ERR_MEMORY, "%s: no memory for its text", path)
                                  : sb_file_write_atomic(path, file->text, file->bytes);
  free(file->text);
  *file = (sb_text_file){0};
  return status;
}
