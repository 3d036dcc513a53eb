"""Training of the AlexNet family in PyTorch, by the recipe of 2012 and later ones.

* :mod:`.recipes`: the published recipes as data; :mod:`.update`, :mod:`.schedule`, :mod:`.initial` and :mod:`.dropout`
  implement their parts.
* :mod:`.data`, :mod:`.augmentation`, :mod:`.color`: datasets in folders and tar shards, and their augmentation.
* :mod:`.parallel`: a network split over several devices by columns, by samples, or by samples and units.
* :mod:`.loop`, :mod:`.checkpoint`, :mod:`.logs`, :mod:`.evaluate`: the run itself.

PyTorch is imported inside functions, so that ``import fastalex`` and the other commands work without it.
``fastalex train`` and ``torchrun -m fastalex.train`` are the same command.
"""

from __future__ import annotations
