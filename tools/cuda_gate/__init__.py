"""Parts of tools/check_cuda_kernels.py, tools/check_board_compilers.py and tools/predict_cuda.py."""
