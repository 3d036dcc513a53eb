"""Functions that look into a network: pictures as arrays and numbers, made with numpy and Pillow alone.

``net`` is an :class:`~fastalex.AlexNet`; ``image`` is an image or a preprocessed batch of one, as
:meth:`fastalex.AlexNet.taps` takes it; ``folder`` is searched recursively for images, as
:func:`fastalex.images.listing.below` does; ``profile`` is a preprocessing profile, by default the variant's own;
``report(done, total)`` is called after each batch, and what it raises ends the work. All raise UserError, in one
sentence, for a layer, unit or class that does not exist, an image or a folder that cannot be read, and values that are
not finite. Pictures are uint8: ``[H, W]`` gray, ``[H, W, 3]`` RGB.

* :mod:`.pictures`: ``input_picture(net, image, profile=None) -> [S, S, 3]``, the part of an image that the network
  sees. ``tiles(cells [N, h, w(, 3)], columns=None, gap=1) -> one picture``. ``enlarged(picture, side, smooth=False)``.
  ``colored(heat [h, w] of 0 to 1) -> [h, w, 3]``. ``overlay(picture, heat) -> [S, S, 3]``, a heat map over a picture.
  ``grid_shape(count) -> (rows, columns)`` of tiles.
* :mod:`.filters`: ``filters(net, scale="filter") -> [uint8 [K, 11, 11, 3] for each column]``, conv1's kernels.
  ``filter_grid(net, scale="filter") -> [H, W, 3]``, figure 3 of the paper: the columns one below the other.
* :mod:`.maps`: ``layers(variant) -> [Shown(name, op, shape)]``, what can be looked at. ``values(net, image, layer,
  profile=None) -> float32 [C, H, W] or [features]``. ``map_grid(values, scale="layer") -> uint8 [H, W]``, a cell for
  each unit. ``one_map(values, unit, side=None) -> uint8 [side, side]``.
* :mod:`.top5`: ``predictions(net, images, count=5, profile=None) -> [[Prediction(label, probability, index)]]``.
* :mod:`.neighbors`: ``build(net, folder, layer=None, profile=None, cache=None, batch=16, report=None) -> Index``;
  ``Index.nearest(net, image, count=6) -> [Neighbor(path, distance)]``, ``Index.paths``, ``Index.left_out`` {path:
  sentence}. ``layer=None``: fc7 after its activation. Kept on disk, resumed after an interruption.
* :mod:`.units`: ``build(net, folder, layers, count=9, profile=None, cache=None, batch=16, report=None) -> Ranking``;
  ``Ranking.best(layer, unit) -> [Liked(path, value, row, column)]``, ``Ranking.left_out``.
  ``field(variant, layer, row, column) -> (left, top, right, bottom)``, the pixels that the input picture needs for it.
* :mod:`.occlusion`: ``occlusion(net, image, index=None, places=13, patch=None, profile=None, batch=16, report=None) ->
  Occlusion(probability [places, places], whole, index, patch)``; ``Occlusion.heat`` of 0 to 1.
* :mod:`.gradcam`: ``gradcam(net, image, index=None, layer=None, profile=None) -> Cam(raw [h, w],
  index, layer)``; ``Cam.heat`` of 0 to 1. ``layers(variant) -> [name]``.
* :mod:`.confusion`: ``confusion(net, folder, ten_crop=False, batch=32, bad_limit=100, report=None) ->
  Confusion(counts [true, predicted], labels, scores, left_out)``.
* :mod:`.zeros`: ``zeros(net, images, profile=None) -> {layer: share of zeros, 0 to 1}``.
* :mod:`.roofline`: ``card(net, name=None) -> Ceiling(card, basis)``, or None; ``measure(net, batch=1, repeat=10,
  ceiling=None) -> Times(rows=[StepTime(layers, ms, floor_ms, bound, flop, bytes)], batch, card, basis, peak_tflops,
  bandwidth_gb_s)``, a row for each step of the engine.
* :mod:`.timeline`: ``trace(net, batch=1, repeat=3) -> dict``, one run a row, JSON that opens in Perfetto.
"""
