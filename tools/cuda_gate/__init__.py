"""Parts of tools/check_cuda_kernels.py and tools/predict_cuda.py: compiling, limits, plans, disassembly."""
