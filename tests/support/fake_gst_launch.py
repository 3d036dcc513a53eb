#!/usr/bin/env python3
"""Stand-in for gst-launch-1.0: reads the caps of its command line and writes frames as fdsink does.

The environment controls it: FAKE_GST_FRAMES, how many; FAKE_GST_END: "eos", "partial" (in the middle of the next
frame), "error" (a message and exit code 1) or "stall" (it waits). Pixel (y, x) of frame n is (n, y, x) modulo 256.
"""

import os
import re
import sys
import time

words = sys.argv[1:]
assert words[0] == "-q" and words[-3:] == ["fdsink", "fd=1", "sync=false"], words
with open(os.environ["FAKE_GST_LOG"], "w") as log:
    log.write(" ".join(words))
caps = words[-5]
width, height = (int(re.search(rf"\b{side}=(\d+)", caps).group(1)) for side in ("width", "height"))
assert "format=BGR," in caps, caps
padding = bytes(-3 * width % 4)  # GStreamer pads a row of BGR to four bytes
out = sys.stdout.buffer
for number in range(int(os.environ["FAKE_GST_FRAMES"])):
    rows = (b"".join(bytes((number % 256, y % 256, x % 256)) for x in range(width)) + padding for y in range(height))
    out.write(b"".join(rows))
    out.flush()
    time.sleep(float(os.environ.get("FAKE_GST_PAUSE", "0")))
end = os.environ["FAKE_GST_END"]
if end == "partial":
    out.write(bytes(3 * width))
elif end == "error":
    sys.stderr.write(
        "Setting pipeline to PAUSED ...\nERROR: from element /GstPipeline:pipeline0: no cameras available\n"
    )
    sys.exit(1)
elif end == "stall":
    out.flush()
    time.sleep(60)
