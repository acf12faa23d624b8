"""The worker: SQS message to S3 object to detection to callback, as overlapping stages.

Layers, upper ones may import lower ones only: ``__main__``, ``cli``, ``demo``, ``api``,
``pipeline``, ``testing``, the adapters (``sources``, ``storage``, ``detectors``, ``callback``,
``metrics``), ``media``, ``core`` (pure), ``config``, ``settings`` and ``errors``.
"""
