"""Parts of check_cuda_kernels.py, check_board_compilers.py, predict_cuda.py and emulate_simulated.py: compiling,
limits, plans, errors on the emulator; disassembly, its execution, and the model of a multiprocessor that gives it
times."""
