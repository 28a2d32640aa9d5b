/* Nanoseconds of a round trip between two cores: a number handed over and back through one cache line. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUND_TRIPS = 20000 };
static _Atomic int ball __attribute__((aligned(64)));

static void stay_on(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  if (sched_setaffinity(0, sizeof set, &set)) exit(1);
}

static void wait_for(int number) {
  while (atomic_load_explicit(&ball, memory_order_acquire) != number) {
  }
}

static void *partner(void *core) {
  stay_on(*(int *)core);
  for (int trip = 0; trip < ROUND_TRIPS; trip++) {
    wait_for(2 * trip + 1);
    atomic_store_explicit(&ball, 2 * trip + 2, memory_order_release);
  }
  return NULL;
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

int main(int count, char **arguments) {
  if (count != 3) return 1;
  int here = atoi(arguments[1]), there = atoi(arguments[2]);
  pthread_t thread;
  stay_on(here);
  if (pthread_create(&thread, NULL, partner, &there)) return 1;
  double began = 0;
  for (int trip = 0; trip < ROUND_TRIPS; trip++) {
    /* The first half lets the partner start. */
    if (trip == ROUND_TRIPS / 2) began = seconds();
    atomic_store_explicit(&ball, 2 * trip + 1, memory_order_release);
    wait_for(2 * trip + 2);
  }
  printf("%.1f\n", (seconds() - began) / (ROUND_TRIPS - ROUND_TRIPS / 2) * 1e9);
  pthread_join(thread, NULL);
  return 0;
}
