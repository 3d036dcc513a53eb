// Checks each access of a kernel to memory. The kernels are compiled with -fsanitize=thread for its instrumentation;
// this file stands in for the sanitizer's library, so it and the rest of the emulator are compiled without.
//
// Shared memory: two threads race if both touch a byte, one of them writes, and neither a __syncthreads, nor in one
// warp a __syncwarp, lies between. (Shuffles, ldmatrix and mma order no memory: CUDA programming guide, warp
// functions.) Reading what no thread of the block has written is an error too, but for ldmatrix: pipelines fetch the
// fragments of a tile that never comes, and drop them. (If they did not, the poison would show in the result.)
//
// Other memory: only live allocations of the launch's device may be touched, and the thread's own stack, the arguments
// and constants.
#include "race_check.h"

#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "cuda_emulator.h"
#include "memory.h"

namespace fastalex {
namespace emulator {
namespace {

const uint16_t kNobody = 0xffff, kSeveral = 0xfffe;

// The history of one byte, or of four that have had the same. Epochs count __syncthreads, ages the __syncwarp of a
// warp. One writer and a summary of the readers are enough: after an ordered write the accesses before it cannot race
// with any that the write itself does not race with.
struct Cell {
  uint32_t write_epoch, write_age, read_epoch, read_age;
  uint16_t writer;
  uint16_t reading_warp;  // kSeveral
  uint8_t reading_lane;   // at read_age; 255: several
  bool copying;           // an asynchronous copy of `writer` is under way
};
const uint8_t kSeveralLanes = 255;

struct Span {
  uintptr_t begin, end;
};

struct Checker {
  bool active = false;
  const unsigned char* shared = nullptr;
  size_t shared_bytes = 0;
  Surroundings around;
  uint32_t epoch = 0;        // never decreases, so it identifies cells of earlier blocks
  uint32_t first_epoch = 0;  // of this block
  uint32_t age[32];          // by warp
  std::vector<Cell> words, bytes;
  std::vector<uint8_t> split;  // by word: its bytes have histories of their own
  Region region;               // the one used last
  Span constants;              // segment of a loaded file, the one used last
};

__thread Checker* checker __attribute__((tls_model("initial-exec")));

struct Owner {  // instrumented code still runs at the end of the host thread, when the checker is gone
  std::unique_ptr<Checker> checker_of_thread;
  ~Owner() { checker = nullptr; }
};
thread_local Owner owner;

enum Kind { kRead, kPrefetch, kWrite, kCopyIssued, kCopyLanded };

const char* verb(Kind kind) { return kind <= kPrefetch ? "reads" : kind == kWrite ? "writes" : "copies (cp.async) to"; }

// The position of an instruction, in addr2line's format.
std::string code_place(const void* pc) {
  Dl_info info;
  if (!pc || !dladdr(pc, &info) || !info.dli_fname) return "";
  const char* slash = strrchr(info.dli_fname, '/');
  char text[300];
  snprintf(text, sizeof text, " [%s+0x%zx]", slash ? slash + 1 : info.dli_fname,
           static_cast<size_t>(static_cast<const char*>(pc) - static_cast<const char*>(info.dli_fbase)));
  return text;
}

[[noreturn]] void report_shared(Kind kind, const void* p, size_t bytes, const std::string& why, const void* pc) {
  checker->active = false;
  const size_t at = static_cast<size_t>(static_cast<const unsigned char*>(p) - checker->shared);
  fail("%s bytes %zu to %zu of shared memory, %s%s", verb(kind), at, at + bytes - 1, why.c_str(),
       code_place(pc).c_str());
}

[[noreturn]] void report_other(Kind kind, const void* p, size_t bytes, const std::string& why, const void* pc) {
  checker->active = false;
  fail("%s %zu bytes at %p, %s%s", verb(kind), bytes, p, why.c_str(), code_place(pc).c_str());
}

[[noreturn]] void report_outside(Kind kind, const void* p, size_t bytes, const void* pc) {
  checker->active = false;
  fail("%s %zu bytes at byte %td of shared memory, which has %zu%s", verb(kind), bytes,
       static_cast<const unsigned char*>(p) - checker->shared, checker->shared_bytes, code_place(pc).c_str());
}

bool unordered(unsigned own, unsigned other, uint32_t age_of_other) {
  return own != other && (own / 32 != other / 32 || age_of_other == checker->age[own / 32]);
}

// Returns whether a reader since the last ordered write is not ordered before a write of `own`.
bool races_with_readers(const Cell& cell, unsigned own) {
  if (cell.read_epoch != checker->epoch) return false;
  if (cell.reading_warp != own / 32) return true;
  return cell.read_age == checker->age[own / 32] && cell.reading_lane != own % 32;
}

void note_reader(Cell* cell, unsigned own) {
  const uint16_t warp = static_cast<uint16_t>(own / 32);
  const uint8_t lane = static_cast<uint8_t>(own % 32);
  const uint32_t age = checker->age[warp];
  if (cell->read_epoch != checker->epoch) {
    cell->read_epoch = checker->epoch;
    cell->reading_warp = warp;
    cell->read_age = age;
    cell->reading_lane = lane;
  } else if (cell->reading_warp != warp) {
    cell->reading_warp = kSeveral;
  } else if (cell->read_age != age) {
    cell->read_age = age;
    cell->reading_lane = lane;
  } else if (cell->reading_lane != lane) {
    cell->reading_lane = kSeveralLanes;
  }
}

std::string name(unsigned thread) { return "thread " + std::to_string(thread); }

enum Fault { kFine, kCopying, kRacesWithWriter, kRacesWithReader, kUnwritten };

Fault check_cell(Cell* cell, Kind kind) {
  const unsigned own = indices.thread.x;
  const bool written = cell->write_epoch >= checker->first_epoch;
  if (kind != kCopyLanded) {
    if (written && cell->copying) return kCopying;
    if (cell->write_epoch == checker->epoch && unordered(own, cell->writer, cell->write_age)) return kRacesWithWriter;
    if (kind == kRead && !written) return kUnwritten;
    if (kind > kPrefetch && races_with_readers(*cell, own)) return kRacesWithReader;
  }
  if (kind <= kPrefetch) {
    note_reader(cell, own);
    return kFine;
  }
  cell->write_epoch = checker->epoch;
  cell->write_age = checker->age[own / 32];
  cell->writer = static_cast<uint16_t>(own);
  cell->copying = kind == kCopyIssued;
  cell->read_epoch = 0;
  return kFine;
}

std::string text_of(Fault fault, const Cell& cell) {
  switch (fault) {
    case kCopying:
      return "where an asynchronous copy of " + name(cell.writer) + " is under way";
    case kRacesWithWriter:
      return "race: " + name(cell.writer) + " wrote there and no barrier lies between";
    case kRacesWithReader:
      return cell.reading_warp == kSeveral || cell.reading_lane == kSeveralLanes
                 ? "race: other threads read them and no barrier lies between"
                 : "race: " + name(32u * cell.reading_warp + cell.reading_lane) +
                       " reads them and no barrier lies between";
    default:
      return "which no thread of the block has written";
  }
}

void split_word(size_t word) {
  if (checker->split[word]) return;
  checker->split[word] = 1;
  for (size_t i = 4 * word; i < 4 * word + 4; ++i) checker->bytes[i] = checker->words[word];
}

void check_shared(Kind kind, const void* p, size_t bytes, const void* pc) {
  const size_t first = static_cast<size_t>(static_cast<const unsigned char*>(p) - checker->shared),
               last = first + bytes;
  if (bytes > checker->shared_bytes - first) report_outside(kind, p, bytes, pc);
  for (size_t at = first; at < last;) {
    const size_t word = at / 4, end = std::min(last, 4 * word + 4);
    const bool whole = end - at == 4;
    if (whole && !checker->split[word]) {
      Cell* cell = &checker->words[word];
      const Fault fault = check_cell(cell, kind);
      if (fault != kFine) report_shared(kind, p, bytes, text_of(fault, *cell), pc);
    } else {
      split_word(word);
      for (size_t i = at; i < end; ++i) {
        const Fault fault = check_cell(&checker->bytes[i], kind);
        if (fault != kFine) report_shared(kind, p, bytes, text_of(fault, checker->bytes[i]), pc);
      }
      if (whole && kind > kPrefetch) {  // the four are alike again
        checker->words[word] = checker->bytes[at];
        checker->split[word] = 0;
      }
    }
    at = end;
  }
}

int find_segment(dl_phdr_info* info, size_t, void* data) {
  Span* span = static_cast<Span*>(data);  // in: [address, address]
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr) & segment = info->dlpi_phdr[i];
    const uintptr_t begin = info->dlpi_addr + segment.p_vaddr, end = begin + segment.p_memsz;
    if (segment.p_type != PT_LOAD || span->begin < begin || span->begin >= end) continue;
    *span = Span{begin, end};
    return 1;
  }
  return 0;
}

bool inside(const void* p, const void* begin, size_t bytes) {
  return reinterpret_cast<uintptr_t>(p) - reinterpret_cast<uintptr_t>(begin) < bytes;
}

bool is_constant(const void* p) {
  Span span = {reinterpret_cast<uintptr_t>(p), reinterpret_cast<uintptr_t>(p)};
  if (span.begin >= checker->constants.begin && span.begin < checker->constants.end) return true;
  if (!dl_iterate_phdr(find_segment, &span)) return false;
  checker->constants = span;
  return true;
}

// Stacks are apart by stack_bytes; kernels of 1024 threads at most.
bool on_stack(Kind kind, const void* p, size_t bytes, const void* pc) {
  if (!inside(p, checker->around.stacks, 1024 * checker->around.stack_bytes)) return false;
  const size_t thread =
      static_cast<size_t>(static_cast<const char*>(p) - checker->around.stacks) / checker->around.stack_bytes;
  if (thread >= indices.block_size.x) return false;
  if (thread != indices.thread.x)
    report_other(kind, p, bytes, "a variable of " + name(static_cast<unsigned>(thread)), pc);
  return true;
}

void check_other(Kind kind, const void* p, size_t bytes, const void* pc) {
  Checker& c = *checker;
  if (inside(p, c.region.data, c.region.bytes) &&
      inside(static_cast<const char*>(p) + bytes - 1, c.region.data, c.region.bytes))
    return;
  if (on_stack(kind, p, bytes, pc) || inside(p, &indices, sizeof indices) ||
      inside(p, c.around.args, c.around.args_bytes) || inside(p, c.around.runner, c.around.runner_bytes))
    return;
  Region region;
  if (!find_region(p, &region)) {
    if (is_constant(p)) return;
    report_other(kind, p, bytes, "which is no memory of the device", pc);
  }
  if (!inside(p, region.data, region.bytes) ||
      bytes > static_cast<size_t>(region.data + region.bytes - static_cast<const char*>(p)))
    report_other(kind, p, bytes,
                 std::to_string(static_cast<const char*>(p) - region.data) + " bytes after the start of memory of " +
                     std::to_string(region.bytes) + " bytes",
                 pc);
  if (region.device != c.around.device && !region.mapped)
    report_other(
        kind, p, bytes,
        region.device < 0 ? "host memory that is not mapped" : "memory of device " + std::to_string(region.device), pc);
  c.region = region;
}

void check(Kind kind, const void* p, size_t bytes, const void* pc) {
  if (!checker || !checker->active || !bytes) return;
  if (inside(p, checker->shared, checker->shared_bytes))
    check_shared(kind, p, bytes, pc);
  else if (inside(p, checker->shared - kSharedGuardBytes, checker->shared_bytes + 2 * kSharedGuardBytes))
    report_outside(kind, p, bytes, pc);
  else
    check_other(kind, p, bytes, pc);
}

}  // namespace

void race_block_begins(const unsigned char* shared, size_t bytes, const Surroundings& surroundings) {
  if (!checker) {
    owner.checker_of_thread.reset(new Checker());
    checker = owner.checker_of_thread.get();
  }
  const size_t words = bytes / 4 + 1;
  if (checker->words.size() < words) {
    const Cell untouched = {0, 0, 0, 0, kNobody, kNobody, kSeveralLanes, false};
    checker->words.resize(words, untouched);
    checker->bytes.resize(4 * words, untouched);
    checker->split.resize(words, 0);
  }
  checker->shared = shared;
  checker->shared_bytes = bytes;
  checker->around = surroundings;
  checker->first_epoch = ++checker->epoch;
  memset(checker->age, 0, sizeof checker->age);
  checker->region = Region{nullptr, 0, -1, false};
  checker->active = true;
}

void race_block_ends() { checker->active = false; }

void race_block_barrier() { ++checker->epoch; }

void race_warp_barrier(unsigned warp) { ++checker->age[warp]; }

void check_read(const void* p, size_t bytes) { check(kRead, p, bytes, nullptr); }
void check_prefetch(const void* p, size_t bytes) { check(kPrefetch, p, bytes, nullptr); }
void race_copy_issued(const void* to, size_t bytes) { check(kCopyIssued, to, bytes, nullptr); }
void race_copy_landed(const void* to, size_t bytes) { check(kCopyLanded, to, bytes, nullptr); }

}  // namespace emulator
}  // namespace fastalex

// Entry points that GCC's instrumentation calls.

using fastalex::emulator::check;
using fastalex::emulator::kRead;
using fastalex::emulator::kWrite;

#define FASTALEX_HOOK(name, kind, bytes) \
  extern "C" void name(void* p) { check(kind, p, bytes, __builtin_return_address(0)); }

FASTALEX_HOOK(__tsan_read1, kRead, 1)
FASTALEX_HOOK(__tsan_read2, kRead, 2)
FASTALEX_HOOK(__tsan_read4, kRead, 4)
FASTALEX_HOOK(__tsan_read8, kRead, 8)
FASTALEX_HOOK(__tsan_read16, kRead, 16)
FASTALEX_HOOK(__tsan_write1, kWrite, 1)
FASTALEX_HOOK(__tsan_write2, kWrite, 2)
FASTALEX_HOOK(__tsan_write4, kWrite, 4)
FASTALEX_HOOK(__tsan_write8, kWrite, 8)
FASTALEX_HOOK(__tsan_write16, kWrite, 16)
FASTALEX_HOOK(__tsan_unaligned_read2, kRead, 2)
FASTALEX_HOOK(__tsan_unaligned_read4, kRead, 4)
FASTALEX_HOOK(__tsan_unaligned_read8, kRead, 8)
FASTALEX_HOOK(__tsan_unaligned_read16, kRead, 16)
FASTALEX_HOOK(__tsan_unaligned_write2, kWrite, 2)
FASTALEX_HOOK(__tsan_unaligned_write4, kWrite, 4)
FASTALEX_HOOK(__tsan_unaligned_write8, kWrite, 8)
FASTALEX_HOOK(__tsan_unaligned_write16, kWrite, 16)
FASTALEX_HOOK(__tsan_vptr_read, kRead, sizeof(void*))

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit(void*) {}
void __tsan_vptr_update(void* p, void*) { check(kWrite, p, sizeof(void*), __builtin_return_address(0)); }
void __tsan_read_range(void* p, long bytes) {
  check(kRead, p, static_cast<size_t>(bytes), __builtin_return_address(0));
}
void __tsan_write_range(void* p, long bytes) {
  check(kWrite, p, static_cast<size_t>(bytes), __builtin_return_address(0));
}

// Host code in the kernels' files: guards of static variables and reference counts.
char __tsan_atomic8_load(const volatile char* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
int __tsan_atomic32_load(const volatile int* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
int __tsan_atomic32_fetch_add(volatile int* p, int value, int) {
  return __atomic_fetch_add(p, value, __ATOMIC_SEQ_CST);
}
}
