// Prints the default number of threads below a root folder with /proc and /sys of its own.
#include "cpu/usable_cpus.h"

#include <cstdio>

#include "common/error.h"

int main(int, char** argv) {
  try {
    std::printf("%d\n", fastalex::usable_cpus(argv[1]));
    return 0;
  } catch (const fastalex::Error& error) {
    std::printf("%s\n", error.what());
    return 1;
  }
}
