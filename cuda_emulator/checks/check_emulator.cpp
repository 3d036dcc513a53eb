// Tests the emulator itself: kernels with one deliberate fault each, and instructions against their definitions.
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "common/error.h"

namespace fastalex {
namespace check {
namespace {

int checks = 0, failures = 0;

}  // namespace

void expect(bool condition, const std::string& what) {
  ++checks;
  if (condition) return;
  if (++failures <= 50) printf("FAILED: %s\n", what.c_str());
}

void expect_error(const std::string& what, const std::vector<std::string>& words, const std::function<void()>& body) {
  try {
    body();
    expect(false, what + ": no error");
  } catch (const Error& error) {
    for (const std::string& word : words)
      expect(strstr(error.what(), word.c_str()) != nullptr, what + ": \"" + word + "\" is not in: " + error.what());
  }
}

void expect_death(const std::string& what, const std::string& word, const std::function<void()>& body) {
  int ends[2];
  if (pipe(ends)) return expect(false, what + ": no pipe");
  fflush(stdout);
  const pid_t child = fork();
  if (!child) {
    dup2(ends[1], 2);
    try {
      body();
    } catch (const std::exception& error) {
      fprintf(stderr, "thrown: %s\n", error.what());
    }
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char part[4096];
  for (ssize_t got; (got = read(ends[0], part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(got));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  expect(!(WIFEXITED(status) && WEXITSTATUS(status) == 0) && text.find(word) != std::string::npos,
         what + ": no \"" + word + "\" in: " + text.substr(0, 2000));
}

}  // namespace check
}  // namespace fastalex

int main() {
  using namespace fastalex::check;
  check_half();
  check_instructions();
  check_faults();
  check_runtime();
  printf("%d checks, %d failed\n", checks, failures);
  return failures != 0;
}
