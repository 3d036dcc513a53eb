"""The HTTP service: networks behind the Open Inference Protocol, with dynamic batching.

:mod:`.repository` keeps the models, :mod:`.served` is one of them, :mod:`.batching` joins requests to calls of the
engine and :mod:`.decoding` prepares images for them; :mod:`.app` is the application in front of these.
"""
