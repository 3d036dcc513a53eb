// The permission to use AMX tiles, which Linux gives to a process that asks for it.
#ifndef FASTALEX_CPU_AMX_H
#define FASTALEX_CPU_AMX_H

#include <cstdint>
#include <string>

namespace fastalex {

// XCR0: the states of the processor that the operating system saves.
uint64_t saved_states();

// Asks for the permission. Returns why this process may not use tiles, as a part of a sentence; empty: it may, and so
// may all of its threads, and what it forks.
std::string request_tiles(uint64_t saved_states);

}  // namespace fastalex
#endif  // FASTALEX_CPU_AMX_H
