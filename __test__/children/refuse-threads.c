/* Preloaded into a process, refuses it new threads, as a limit on processes does, while the file exists that the variable
 * REFUSE_THREADS names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

typedef int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
  static create next;
  const char *flag = getenv("REFUSE_THREADS");
  if (flag && access(flag, F_OK) == 0) return EAGAIN;
  if (!next) next = (create)dlsym(RTLD_NEXT, "pthread_create");
  return next(thread, attributes, run, argument);
}
