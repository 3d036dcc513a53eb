"""Tests of read-outs of many images: sources, destinations, shards, kills. Tools' layers are in tests/clients."""
