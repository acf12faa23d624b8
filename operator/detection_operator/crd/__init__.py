"""The CustomResourceDefinition of DetectionQueue, made from the spec's fields."""
