"""Representational dissimilarity matrices (RDMs): how far apart a layer puts each pair of stimuli.

An RDM is computed from activations in ``.npy``, Zarr, HDF5 or Parquet, some images at a time (:func:`compute`), kept as
``.npy`` with a manifest (:mod:`.files`), and compared with others by a correlation, with a confidence interval by
bootstrap over the stimuli (:func:`compare`). See Kriegeskorte, Mur & Bandettini, "Representational similarity
analysis", Front. Syst. Neurosci. 2:4, 2008.
"""

from __future__ import annotations

from .activations import Activations, open_activations
from .comparison import METHODS, compare
from .dissimilarities import METRICS, compute
from .files import Rdm, load, write

__all__ = ["METHODS", "METRICS", "Activations", "Rdm", "compare", "compute", "load", "open_activations", "write"]
