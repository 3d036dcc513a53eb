"""Run the CUDA backend on a CPU, for tests and tools: cuda_emulator/README.md."""
