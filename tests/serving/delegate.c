/* A TFLite delegate that takes no operation, and writes into a file that it was asked. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Delegate {
  void* data;
  int (*prepare)(void* context, struct Delegate* delegate);
  int (*copy_from)(void*, struct Delegate*, int, void*);
  int (*copy_to)(void*, struct Delegate*, int, void*);
  void (*free_handle)(void*, struct Delegate*, int*);
  int64_t flags;
  void* builder;
} Delegate;

static int prepare(void* context, Delegate* delegate) {
  FILE* file = fopen(delegate->data, "w");
  if (context == NULL || file == NULL) return 1;
  fputs("asked", file);
  return fclose(file);
}

Delegate* tflite_plugin_create_delegate(char** keys, char** values, size_t count,
                                        void (*report)(const char*)) {
  if (count != 1 || strcmp(keys[0], "file") != 0) {
    report("give the option `file`");
    return NULL;
  }
  Delegate* delegate = calloc(1, sizeof(Delegate));
  delegate->data = strdup(values[0]);
  delegate->prepare = prepare;
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate* delegate) {
  if (delegate == NULL) return; /* The runtime also destroys what was never made. */
  free(delegate->data);
  free(delegate);
}
