"""The Open Inference Protocol (KServe v2) as bytes and objects, without HTTP.

:mod:`.request` reads a request, :mod:`.response` writes an answer, :mod:`.tensors` converts tensors, :mod:`.metadata`
describes servers and models. The protocol: github.com/kserve/open-inference-protocol; the extensions, of which
binary tensors, classification, model repository, model configuration and statistics are here:
github.com/triton-inference-server/server, docs/protocol.
"""
