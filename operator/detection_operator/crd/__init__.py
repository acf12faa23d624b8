"""The CustomResourceDefinitions, made from the fields of the specs."""
