"""Layers of images in Spark, by its ``predict_batch_udf``: a column of image files in, a column of activations out.

    python examples/spark_readout.py IMAGES OUT --weights torchvision --layer classifier.4

IMAGES is what Spark's ``binaryFile`` source reads: a folder or a pattern, on any store that Spark knows. OUT gets
Parquet with the columns ``path`` and ``activations``. Needs pyspark from 3.4 on, pandas, pyarrow and a JRE.
"""

from __future__ import annotations

import argparse


def activations(images, weights, layer, threads=1, batch_size=32):
    """Add a column ``activations`` to a DataFrame with the column ``content``, the bytes of an image file.

    Each Python worker of Spark loads the network once. ``threads`` should be ``spark.task.cpus``.
    """
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.types import ArrayType, FloatType

    def make_predict():
        import numpy as np

        from fastalex import AlexNet

        net = AlexNet(weights=weights, device="cpu", threads=threads)

        def predict(content):  # [N] of bytes
            inputs = np.concatenate([net.preprocess(one) for one in content])
            return net.taps(inputs, [layer])[layer].reshape(len(content), -1)

        return predict

    udf = predict_batch_udf(make_predict, return_type=ArrayType(FloatType()), batch_size=batch_size)
    return images.withColumn("activations", udf("content"))


def main():
    from pyspark.sql import SparkSession

    parser = argparse.ArgumentParser()
    parser.add_argument("images")
    parser.add_argument("out")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--layer", required=True)
    options = parser.parse_args()
    spark = SparkSession.builder.appName("readout").getOrCreate()
    images = spark.read.format("binaryFile").load(options.images)
    rows = activations(images, options.weights, options.layer, int(spark.conf.get("spark.task.cpus", "1")))
    rows.select("path", "activations").write.parquet(options.out)
    spark.stop()


if __name__ == "__main__":
    main()
