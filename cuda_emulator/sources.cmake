# The emulator's own files, for CMakeLists.txt here and tests/support/tensorrt_harness/CMakeLists.txt.
set(FASTALEX_EMULATOR_SOURCES block.cpp crash.cpp device_text.cpp fiber.cpp instructions.cpp memory.cpp
                              runtime_emulated.cpp)
list(TRANSFORM FASTALEX_EMULATOR_SOURCES PREPEND "${CMAKE_CURRENT_LIST_DIR}/src/")
