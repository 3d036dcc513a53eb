"""Training of the family in PyTorch, as in 2012 and past it.

* :mod:`.recipes`: the published recipes as data; :mod:`.update`, :mod:`.schedule`, :mod:`.initial`, :mod:`.dropout`
  carry out what they say.
* :mod:`.data`, :mod:`.augmentation`, :mod:`.color`: folders and tar shards of images, and what is done to them.
* :mod:`.parallel`: the network on several devices: by columns, by samples, or by samples and units.
* :mod:`.loop`, :mod:`.checkpoint`, :mod:`.logs`, :mod:`.evaluate`: the run itself.

PyTorch is imported inside these modules' functions, so that ``import fastalex`` and the other commands need none.
``fastalex train`` and ``torchrun -m fastalex.train`` are the same command.
"""

from __future__ import annotations
