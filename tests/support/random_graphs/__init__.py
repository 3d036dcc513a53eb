"""AlexNet-like graphs at random, in the formats that describe a network, each with what another program makes of it.

``onnx_graphs``, ``caffe_nets`` and ``torch_exports`` have the makers, ``make(seed) -> Case``; beside each is a table of
what its networks may have that the family has not. ``cases`` compares fastalex with the oracles. A seed gives the same
file everywhere, an export as far as PyTorch's exporters do.
"""
