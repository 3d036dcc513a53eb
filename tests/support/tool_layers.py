"""Layers that other tools read out, from their sources."""

# Sources: brainscore_vision/models/alexnet/model.py (LAYERS, and the pre-ReLU
# taps of alexnet_7be5be79_convs), thingsvision's README and tests, Net2Brain's nodes, lpips/pretrained_networks.py.
BRAIN_SCORE = ["features.2", "features.5", "features.7", "features.9", "features.12", "classifier.2", "classifier.5"]
BRAIN_SCORE_CONVS = ["features.3", "features.6", "features.8", "features.10", "classifier.1", "classifier.4"]
THINGSVISION = ["features.10", "classifier.4"]
NET2BRAIN = ["features.0", "features.3", "features.6", "features.8", "features.10"]
LPIPS = ["relu1", "relu2", "relu3", "relu4", "relu5"]
