"""What tools/check_cuda_kernels.py and tools/predict_cuda.py are made of: compiling, limits, plans, disassembly."""
